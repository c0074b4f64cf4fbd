#include "lib/archive/expected_tree.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "fmt/format.h"

#include "lib/archive/entry_path.h"
#include "lib/archive/xattrs.h"
#include "lib/base/status.h"

namespace berth::archive {

namespace {

constexpr uint64_t kMaxMemory = 512 << 20;
constexpr uint64_t kNodeMemory = 400;
constexpr int kMaxSymlinks = 40;  // as the kernel

using Node = ExpectedTree::Node;

std::string Join(const std::string& parent, std::string_view name) {
  return parent.empty() ? std::string(name) : parent + "/" + std::string(name);
}

absl::Status Impossible(std::string_view path) {
  return absl::DataLossError(
      fmt::format("the layer's recipe is of an archive that leads nowhere at '{}'", path));
}

bool IsWhiteout(const Node& node) { return S_ISCHR(node.type) && node.device == 0; }

mode_t TypeOf(TarEntry::Kind kind) {
  switch (kind) {
    case TarEntry::Kind::kDirectory:
      return S_IFDIR;
    case TarEntry::Kind::kSymlink:
      return S_IFLNK;
    case TarEntry::Kind::kCharDevice:
      return S_IFCHR;
    case TarEntry::Kind::kBlockDevice:
      return S_IFBLK;
    case TarEntry::Kind::kFifo:
      return S_IFIFO;
    default:
      return S_IFREG;
  }
}

Node NodeOf(const TarEntry& entry) {
  Node node;
  node.type = TypeOf(entry.kind);
  node.mode = entry.mode;
  node.uid = entry.uid;
  node.gid = entry.gid;
  node.mtime = entry.mtime;
  node.device = entry.device;
  node.size = entry.size;
  node.link = entry.link;
  if (S_ISREG(node.type) || S_ISDIR(node.type)) {
    for (const auto& [name, value] : entry.xattrs) {
      if (IsKeptXattr(name)) {
        node.xattrs.insert_or_assign(name, value);
      }
    }
  }
  return node;
}

std::shared_ptr<Node> Undescribed(mode_t type) {
  auto node = std::make_shared<Node>();
  node->type = type;
  node->is_described = false;
  return node;
}

}  // namespace

ExpectedTree::ExpectedTree(const LayerLimits& limits) : limits_(limits) {
  names_[""].node = Undescribed(S_IFDIR);
}

Node* ExpectedTree::Find(const std::string& path) {
  const auto found = names_.find(path);
  return found == names_.end() ? nullptr : found->second.node.get();
}

absl::Status ExpectedTree::Put(const std::string& path, std::shared_ptr<Node> node) {
  memory_ += kNodeMemory + path.size() + node->link.size();
  for (const auto& [name, value] : node->xattrs) {
    memory_ += kNodeMemory / 4 + name.size() + value.size();
  }
  if (memory_ > kMaxMemory) {
    return absl::ResourceExhaustedError(
        fmt::format("the layer's names and attributes take more than {} bytes", kMaxMemory));
  }
  ++node->names;
  names_[path] = {std::move(node), false};
  return absl::OkStatus();
}

absl::StatusOr<std::string> ExpectedTree::Resolve(std::string_view path, bool make) {
  // What is still to be walked, the next name last.
  std::vector<std::string> todo;
  const auto push = [&](std::string_view text) {
    const size_t first = todo.size();
    while (!text.empty()) {
      const size_t slash = std::min(text.find('/'), text.size());
      todo.emplace_back(text.substr(0, slash));
      text.remove_prefix(std::min(slash + 1, text.size()));
    }
    std::reverse(todo.begin() + static_cast<ptrdiff_t>(first), todo.end());
  };
  push(path);
  std::string at;
  int symlinks = 0;
  while (!todo.empty()) {
    const std::string name = std::move(todo.back());
    todo.pop_back();
    if (name.empty() || name == ".") {
      continue;
    }
    if (name == "..") {
      at.resize(at.find('/') == std::string::npos ? 0 : at.rfind('/'));
      continue;
    }
    const std::string next = Join(at, name);
    RETURN_IF_ERROR(Step(next, make));
    const Node& node = *Find(next);
    if (!S_ISLNK(node.type)) {
      at = next;
      continue;
    }
    if (++symlinks > kMaxSymlinks) {
      return Impossible(path);
    }
    if (node.link[0] == '/') {
      at.clear();
    }
    push(node.link);
  }
  return at;
}

// There is a directory or symlink at `at` afterwards.
absl::Status ExpectedTree::Step(const std::string& at, bool make) {
  const Node* node = Find(at);
  if (node != nullptr && (S_ISDIR(node->type) || S_ISLNK(node->type))) {
    return absl::OkStatus();
  }
  if (!make || (node != nullptr && !IsWhiteout(*node))) {
    return Impossible(at);
  }
  const std::shared_ptr<Node> made = Undescribed(S_IFDIR);
  made->is_opaque = node != nullptr;
  return Put(at, made);
}

absl::StatusOr<std::string> ExpectedTree::ResolveParent(std::string_view path, bool make) {
  const auto [parent, name] = SplitEntryPath(path);
  ASSIGN_OR_RETURN(const std::string at, Resolve(parent, make));
  return Join(at, name);
}

void ExpectedTree::Remove(const std::string& path, const std::string& clean) {
  const Node* node = Find(path);
  if (node == nullptr) {
    return;
  }
  if (S_ISDIR(node->type)) {
    const auto begin = names_.lower_bound(path + "/");
    const auto end = names_.lower_bound(path + static_cast<char>('/' + 1));
    for (auto name = begin; name != end; ++name) {
      --name->second.node->names;
    }
    names_.erase(begin, end);
    std::erase_if(pending_, [&](const auto& item) {
      return item.first == clean || item.first.rfind(clean + "/", 0) == 0;
    });
  }
  const auto found = names_.find(path);
  --found->second.node->names;
  names_.erase(found);
}

absl::Status ExpectedTree::Replace(const std::string& path, const std::string& clean,
                                   std::shared_ptr<Node> node) {
  Remove(path, clean);
  return Put(path, std::move(node));
}

absl::Status ExpectedTree::Add(const TarEntry& entry) {
  ASSIGN_OR_RETURN(const std::string clean, CleanEntryPath(entry.name, limits_));
  if (clean.empty()) {
    return AddDirectory(entry, clean);
  }
  ASSIGN_OR_RETURN(const Whiteout whiteout, ParseWhiteout(clean));
  if (whiteout.kind == Whiteout::Kind::kIgnored) {
    return absl::OkStatus();
  }
  if (whiteout.kind != Whiteout::Kind::kNone) {
    ASSIGN_OR_RETURN(const std::string parent, Resolve(SplitEntryPath(clean).parent, true));
    if (whiteout.kind == Whiteout::Kind::kOpaque) {
      Find(parent)->is_opaque = true;
      return absl::OkStatus();
    }
    return AddWhiteout(whiteout.hidden, parent);
  }
  if (entry.kind == TarEntry::Kind::kDirectory) {
    return AddDirectory(entry, clean);
  }
  ASSIGN_OR_RETURN(const std::string path, ResolveParent(clean, true));
  if (entry.kind == TarEntry::Kind::kHardLink) {
    return AddHardLink(entry, path, clean);
  }
  return Replace(path, clean, std::make_shared<Node>(NodeOf(entry)));
}

absl::Status ExpectedTree::AddWhiteout(const std::string& hidden, const std::string& parent) {
  const std::string path = Join(parent, hidden);
  Node* node = Find(path);
  if (node == nullptr) {
    return Put(path, Undescribed(S_IFCHR));
  }
  node->is_opaque = node->is_opaque || S_ISDIR(node->type);
  return absl::OkStatus();
}

absl::Status ExpectedTree::AddDirectory(const TarEntry& entry, const std::string& clean) {
  std::string path;
  if (!clean.empty()) {
    ASSIGN_OR_RETURN(path, ResolveParent(clean, true));
  }
  const Node* node = Find(path);
  if (node == nullptr || !S_ISDIR(node->type)) {
    const std::shared_ptr<Node> made = Undescribed(S_IFDIR);
    made->is_opaque = node != nullptr && IsWhiteout(*node);
    RETURN_IF_ERROR(Replace(path, clean, made));
  }
  pending_.insert_or_assign(clean, Pending{names_[path].node, NodeOf(entry)});
  return absl::OkStatus();
}

absl::Status ExpectedTree::AddHardLink(const TarEntry& entry, const std::string& path,
                                       const std::string& clean) {
  ASSIGN_OR_RETURN(const std::string target_clean, CleanEntryPath(entry.link, limits_));
  ASSIGN_OR_RETURN(const std::string target, ResolveParent(target_clean, false));
  const auto found = names_.find(target);
  if (found == names_.end()) {
    return Impossible(target);
  }
  const std::shared_ptr<Node> node = found->second.node;
  return Find(path) == node.get() ? absl::OkStatus() : Replace(path, clean, node);
}

void ExpectedTree::Blame(const std::string& path, std::string problem) {
  Node* node = Find(path);
  if (node != nullptr) {
    node->content_problem = std::move(problem);
  }
}

void ExpectedTree::Finish() {
  for (const auto& [clean, pending] : pending_) {
    // Reached by way of a symlink that a later entry replaced, it is another or none.
    const absl::StatusOr<std::string> path =
        clean.empty() ? std::string() : ResolveParent(clean, false);
    if (!path.ok() || Find(*path) != pending.node.get()) {
      continue;
    }
    Node& node = *pending.node;
    node.is_described = true;
    node.mode = pending.attributes.mode;
    node.uid = pending.attributes.uid;
    node.gid = pending.attributes.gid;
    node.mtime = pending.attributes.mtime;
    for (const auto& [name, value] : pending.attributes.xattrs) {
      node.xattrs.insert_or_assign(name, value);
    }
  }
}

}  // namespace berth::archive
