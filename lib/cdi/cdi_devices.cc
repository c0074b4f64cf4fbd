#include "lib/cdi/cdi_devices.h"

#include <map>
#include <memory>
#include <set>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/cdi/cdi_file.h"

namespace berth::cdi {
namespace {

constexpr size_t kMaxFiles = 1000;
constexpr size_t kMaxMistakes = 5;  // told in one message

struct Claim {
  std::shared_ptr<const CdiFile> file;
  const model::ContainerEdits* edits = nullptr;
  size_t dir = 0;
  std::string path;
  std::string other_path;  // of the same directory; not empty: a conflict
};

struct Catalog {
  std::map<std::string, Claim> claims;  // by full name
  std::vector<std::string> mistakes;
};

bool EndsWith(const std::string& text, std::string_view end) {
  return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void AddFile(const std::string& path, size_t dir, Catalog& catalog) {
  const auto parse = [&]() -> absl::StatusOr<CdiFile> {
    ASSIGN_OR_RETURN(const std::string text, base::ReadFile(path, kMaxCdiFileBytes));
    return ParseCdiFile(text, EndsWith(path, ".json") ? CdiFormat::kJson : CdiFormat::kYaml);
  };
  absl::StatusOr<CdiFile> parsed = parse();
  if (!parsed.ok()) {
    catalog.mistakes.push_back(
        fmt::format("'{}': {}", path, std::string(parsed.status().message())));
    return;
  }
  const auto file = std::make_shared<const CdiFile>(*std::move(parsed));
  for (const auto& [name, edits] : file->devices) {
    Claim& claim = catalog.claims[file->kind + "=" + name];
    if (claim.file != nullptr && claim.dir == dir) {
      claim.other_path = path;
    } else {
      claim = {file, &edits, dir, path, ""};
    }
  }
}

Catalog Read(const std::vector<std::string>& dirs) {
  Catalog catalog;
  for (size_t dir = 0; dir < dirs.size(); ++dir) {
    const absl::StatusOr<std::vector<std::string>> names = base::ListDir(dirs[dir]);
    if (!names.ok()) {
      if (!absl::IsNotFound(names.status())) {
        catalog.mistakes.emplace_back(names.status().message());
      }
      continue;
    }
    size_t files = 0;
    for (const std::string& name : *names) {
      if (!EndsWith(name, ".json") && !EndsWith(name, ".yaml")) {
        continue;
      }
      if (++files > kMaxFiles) {
        catalog.mistakes.push_back(
            fmt::format("'{}' has more than {} files", dirs[dir], kMaxFiles));
        break;
      }
      AddFile(dirs[dir] + "/" + name, dir, catalog);
    }
  }
  return catalog;
}

absl::Status NotKnown(const std::string& name, const std::vector<std::string>& dirs,
                      const Catalog& catalog) {
  std::string text =
      fmt::format("CDI device '{}' is not known; looked in '{}'", name, fmt::join(dirs, "', '"));
  for (size_t i = 0; i < catalog.mistakes.size() && i < kMaxMistakes; ++i) {
    text += fmt::format("; not used: {}", catalog.mistakes[i]);
  }
  return absl::InvalidArgumentError(text);
}

template <typename T>
void AppendTo(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

void Append(model::ContainerEdits& to, const model::ContainerEdits& from) {
  AppendTo(to.env, from.env);
  AppendTo(to.devices, from.devices);
  AppendTo(to.mounts, from.mounts);
  AppendTo(to.additional_gids, from.additional_gids);
  for (const auto& [stage, hooks] : from.hooks) {
    AppendTo(to.hooks[stage], hooks);
  }
  if (from.intel_rdt) {
    to.intel_rdt = from.intel_rdt;
  }
}

}  // namespace

absl::StatusOr<model::ContainerEdits> LookUpDevices(const std::vector<std::string>& spec_dirs,
                                                    const std::vector<std::string>& names) {
  model::ContainerEdits edits;
  if (names.empty()) {
    return edits;
  }
  const Catalog catalog = Read(spec_dirs);
  std::set<const CdiFile*> begun;
  for (const std::string& name : names) {
    const auto found = catalog.claims.find(name);
    if (found == catalog.claims.end()) {
      return NotKnown(name, spec_dirs, catalog);
    }
    const Claim& claim = found->second;
    if (!claim.other_path.empty()) {
      return absl::InvalidArgumentError(fmt::format("CDI device '{}' is in '{}' and in '{}'", name,
                                                    claim.path, claim.other_path));
    }
    if (begun.insert(claim.file.get()).second) {
      Append(edits, claim.file->edits);
    }
    Append(edits, *claim.edits);
  }
  return edits;
}

}  // namespace berth::cdi
