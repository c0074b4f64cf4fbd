// IdIndex: objects by id and by name. Lookups take a full id or a unique prefix; names are reserved
// before the object exists, so that two requests for one name cannot both create it.
//
// Threads: thread-safe; mu_ is a leaf lock. Ownership: shares the objects.
// Source: CRI v1 (ids and names are the caller's handles; requests are repeated after timeouts).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/base/status.h"

namespace berth::base {

template <typename T>
class IdIndex {
 public:
  // `what` names the kind in errors: "container".
  explicit IdIndex(std::string what) : what_(std::move(what)) {}

  // kNotFound; kInvalidArgument: empty or ambiguous.
  absl::StatusOr<std::shared_ptr<T>> Find(const std::string& text) const {
    if (text.empty()) {
      return absl::InvalidArgumentError(fmt::format("{} id is empty", what_));
    }
    MutexLock lock(mu_);
    auto it = by_id_.lower_bound(text);
    if (it == by_id_.end() || it->first.compare(0, text.size(), text) != 0) {
      return absl::NotFoundError(fmt::format("no {} with id '{}'", what_, text));
    }
    if (it->first != text) {
      const auto next = std::next(it);
      if (next != by_id_.end() && next->first.compare(0, text.size(), text) == 0) {
        return absl::InvalidArgumentError(
            fmt::format("{} id '{}' is ambiguous: '{}' and '{}' begin with it; give more digits",
                        what_, text, it->first, next->first));
      }
    }
    return it->second;
  }

  std::vector<std::shared_ptr<T>> All() const {
    MutexLock lock(mu_);
    std::vector<std::shared_ptr<T>> all;
    all.reserve(by_id_.size());
    for (const auto& [id, object] : by_id_) {
      all.push_back(object);
    }
    return all;
  }
  size_t size() const {
    MutexLock lock(mu_);
    return by_id_.size();
  }

  // Takes the name for this caller, or waits for whoever is making an object of that name. Returns
  // that object when it was made meanwhile or exists, nullptr when the name is now the caller's: it
  // must call Insert or Release.
  absl::StatusOr<std::shared_ptr<T>> Reserve(const OpContext& ctx, const std::string& name) {
    MutexLock lock(mu_);
    while (true) {
      auto [it, fresh] = by_name_.try_emplace(name, nullptr);
      if (fresh || it->second != nullptr) {
        return it->second;
      }
      if (absl::Status status = ctx.Check(); !status.ok()) {
        return Annotate(
            status, fmt::format("{} '{}' is still being made by an earlier request", what_, name));
      }
      changed_.WaitFor(mu_, OpContext::kPollInterval);
    }
  }
  // Gives a reserved name back.
  void Release(const std::string& name) {
    MutexLock lock(mu_);
    by_name_.erase(name);
    changed_.SignalAll();
  }
  void Insert(const std::string& id, const std::string& name, std::shared_ptr<T> object) {
    MutexLock lock(mu_);
    by_name_[name] = object;
    by_id_[id] = std::move(object);
    changed_.SignalAll();
  }
  void Erase(const std::string& id, const std::string& name) {
    MutexLock lock(mu_);
    by_id_.erase(id);
    by_name_.erase(name);
    changed_.SignalAll();
  }

 private:
  const std::string what_;
  mutable Mutex mu_;
  CondVar changed_;
  std::map<std::string, std::shared_ptr<T>> by_id_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::shared_ptr<T>> by_name_ ABSL_GUARDED_BY(mu_);  // nullptr: being made
};

}  // namespace berth::base
