// Reading registries.conf.
#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "fmt/format.h"
#include <toml.hpp>

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/registry/registries_conf.h"
#include "lib/registry/toml_values.h"

namespace berth::registry {

namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr int kMaxNesting = 64;

using Mode = RegistriesConf::ShortNameMode;
using PullFrom = RegistriesConf::PullFrom;

// "host[:port][/path...]", for prefixes, locations and search registries.
absl::Status CheckName(const toml::value& where, const std::string& key, std::string& name) {
  while (!name.empty() && name.back() == '/') {
    name.pop_back();
  }
  if (name.find("://") != std::string::npos) {
    return Bad(where, fmt::format("'{}' is '{}': it must not have a scheme", key, name));
  }
  const std::string concrete = name.rfind("*.", 0) == 0 ? "x" + name.substr(1) : name;
  auto parsed =
      oci::Reference::Parse(concrete.find('/') == std::string::npos ? concrete + "/x" : concrete);
  if (!parsed.ok() || parsed->is_short_name()) {
    return Bad(where, fmt::format("'{}' is '{}', not a registry host with optional port and path",
                                  key, name));
  }
  return absl::OkStatus();
}

// toml11 recurses with every open bracket. Those in strings and comments are counted too: no real
// file has so many.
bool NestsTooDeep(std::string_view text) {
  int depth = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') {
      if (++depth > kMaxNesting) {
        return true;
      }
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

absl::StatusOr<RegistriesConf::Mirror> ReadMirror(const toml::value& table) {
  RegistriesConf::Mirror mirror;
  RETURN_IF_ERROR(ReadString(table, "location", mirror.location));
  if (mirror.location.empty()) {
    return Bad(table, "a [[registry.mirror]] has no 'location'");
  }
  RETURN_IF_ERROR(CheckName(table, "location", mirror.location));
  RETURN_IF_ERROR(ReadBool(table, "insecure", mirror.insecure));
  std::string pull_from = "all";
  RETURN_IF_ERROR(ReadString(table, "pull-from-mirror", pull_from));
  if (pull_from == "digest-only") {
    mirror.pull_from = PullFrom::kDigestOnly;
  } else if (pull_from == "tag-only") {
    mirror.pull_from = PullFrom::kTagOnly;
  } else if (pull_from != "all" && !pull_from.empty()) {
    return Bad(table, fmt::format("'pull-from-mirror' is '{}', not all, digest-only or tag-only",
                                  pull_from));
  }
  return mirror;
}

absl::StatusOr<RegistriesConf::Registry> ReadRegistry(const toml::value& table) {
  RegistriesConf::Registry registry;
  RETURN_IF_ERROR(ReadString(table, "prefix", registry.prefix));
  RETURN_IF_ERROR(ReadString(table, "location", registry.location));
  if (registry.prefix.empty()) {
    registry.prefix = registry.location;
  }
  if (registry.prefix.empty()) {
    return Bad(table, "a [[registry]] has neither 'prefix' nor 'location'");
  }
  RETURN_IF_ERROR(CheckName(table, "prefix", registry.prefix));
  const bool is_wildcard = registry.prefix.rfind("*.", 0) == 0;
  if (registry.location.empty() && !is_wildcard) {
    registry.location = registry.prefix;
  }
  if (!registry.location.empty()) {
    if (registry.location.rfind("*.", 0) == 0) {
      return Bad(table, "'location' has a wildcard; only 'prefix' may");
    }
    RETURN_IF_ERROR(CheckName(table, "location", registry.location));
  }
  RETURN_IF_ERROR(ReadBool(table, "insecure", registry.insecure));
  RETURN_IF_ERROR(ReadBool(table, "blocked", registry.blocked));
  RETURN_IF_ERROR(ReadBool(table, "mirror-by-digest-only", registry.mirror_by_digest_only));
  ASSIGN_OR_RETURN(const auto mirrors, ReadTables(table, "mirror"));
  for (const toml::value& element : mirrors) {
    ASSIGN_OR_RETURN(RegistriesConf::Mirror mirror, ReadMirror(element));
    if (registry.mirror_by_digest_only && mirror.pull_from != PullFrom::kAll) {
      return Bad(element, "'pull-from-mirror' contradicts 'mirror-by-digest-only'");
    }
    registry.mirrors.push_back(std::move(mirror));
  }
  return registry;
}

}  // namespace

// Adds files to a configuration, later ones on top.
class RegistriesConfParser {
 public:
  explicit RegistriesConfParser(RegistriesConf& conf) : conf_(conf) {}

  absl::Status Add(const std::string& text, const std::string& name, bool is_aliases_only = false) {
    if (NestsTooDeep(text)) {
      return base::MakeStatus(
          absl::StatusCode::kInvalidArgument,
          fmt::format("{}: brackets nest deeper than {} levels", name, kMaxNesting));
    }
    // toml11 reads beyond its memory when it reports such a byte inside a string.
    if (const size_t bad = base::FindNotUtf8(text); bad != std::string::npos) {
      const auto lines = std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(bad), '\n');
      return base::MakeStatus(
          absl::StatusCode::kInvalidArgument,
          fmt::format("{}:{}: not valid TOML: a byte that is not UTF-8", name, lines + 1));
    }
    toml::value root;
    try {
      std::istringstream stream(text);
      root = toml::parse(stream, name);
    } catch (const toml::exception& e) {
      return base::MakeStatus(
          absl::StatusCode::kInvalidArgument,
          fmt::format("{}:{}: not valid TOML: {}", name, e.location().line(), FirstLine(e.what())));
    } catch (const std::exception& e) {
      return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                              fmt::format("{}: not valid TOML: {}", name, FirstLine(e.what())));
    }
    return is_aliases_only ? AddAliases(root) : AddRoot(root);
  }

 private:
  // toml11 draws the place below its message and puts its function's name in front.
  static std::string FirstLine(const std::string& what) {
    std::string line = what.substr(0, what.find('\n'));
    for (const std::string prefix : {"[error] ", "toml::", "parse_"}) {
      if (line.rfind(prefix, 0) == 0) {
        line.erase(0, prefix.size());
      }
    }
    return line;
  }

  absl::Status AddRoot(const toml::value& root) {
    if (const toml::value* old = Find(root, "registries"); old != nullptr) {
      return Bad(*old,
                 "this is the version 1 format of registries.conf ([registries.search] ...), which "
                 "is not supported: use [[registry]] tables");
    }
    Warn(root, "",
         {"unqualified-search-registries", "registry", "short-name-mode", "aliases",
          "credential-helpers"},
         {"additional-layer-store-auth-helper"});
    RETURN_IF_ERROR(AddSearch(root));
    RETURN_IF_ERROR(AddCredentialHelpers(root));
    RETURN_IF_ERROR(AddMode(root));
    RETURN_IF_ERROR(AddAliases(root));
    ASSIGN_OR_RETURN(const auto tables, ReadTables(root, "registry"));
    for (const toml::value& table : tables) {
      Warn(table, "registry.",
           {"prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only"}, {});
      ASSIGN_OR_RETURN(RegistriesConf::Registry registry, ReadRegistry(table));
      ASSIGN_OR_RETURN(const auto mirrors, ReadTables(table, "mirror"));
      for (const toml::value& mirror : mirrors) {
        Warn(mirror, "registry.mirror.", {"location", "insecure", "pull-from-mirror"}, {});
      }
      auto& all = conf_.registries_;
      const auto same = std::find_if(all.begin(), all.end(), [&](const auto& other) {
        return other.prefix == registry.prefix;
      });
      if (same != all.end()) {
        *same = std::move(registry);
      } else {
        all.push_back(std::move(registry));
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddSearch(const toml::value& root) {
    const std::string key = "unqualified-search-registries";
    ASSIGN_OR_RETURN(const auto values, ReadStrings(root, key));
    if (!values) {
      return absl::OkStatus();
    }
    std::vector<std::string> search;
    for (std::string name : *values) {
      RETURN_IF_ERROR(CheckName(root, key, name));
      if (std::find(search.begin(), search.end(), name) == search.end()) {
        search.push_back(std::move(name));
      }
    }
    conf_.search_registries_ = std::move(search);
    return absl::OkStatus();
  }

  absl::Status AddCredentialHelpers(const toml::value& root) {
    const std::string key = "credential-helpers";
    ASSIGN_OR_RETURN(auto names, ReadStrings(root, key));
    for (const std::string& name : names.value_or(std::vector<std::string>())) {
      if (name.empty() || name.find('/') != std::string::npos) {
        return Bad(*Find(root, key),
                   fmt::format("'{}' has '{}': it takes names of programs without their "
                               "'docker-credential-', or \"containers-auth.json\"",
                               key, name));
      }
    }
    if (names && !names->empty()) {
      conf_.credential_helpers_ = *std::move(names);
    }
    return absl::OkStatus();
  }

  absl::Status AddMode(const toml::value& root) {
    std::string mode;
    RETURN_IF_ERROR(ReadString(root, "short-name-mode", mode));
    if (mode == "enforcing") {
      conf_.short_name_mode_ = Mode::kEnforcing;
    } else if (mode == "permissive") {
      conf_.short_name_mode_ = Mode::kPermissive;
    } else if (mode == "disabled") {
      conf_.short_name_mode_ = Mode::kDisabled;
    } else if (!mode.empty()) {
      return Bad(
          *Find(root, "short-name-mode"),
          fmt::format("'short-name-mode' is '{}', not enforcing, permissive or disabled", mode));
    }
    return absl::OkStatus();
  }

  absl::Status AddAliases(const toml::value& root) {
    const toml::value* value = Find(root, "aliases");
    if (value == nullptr) {
      return absl::OkStatus();
    }
    if (!value->is_table()) {
      return WrongType("aliases", *value, "a table");
    }
    for (const auto& [name, element] : value->as_table(std::nothrow)) {
      const std::string key = "aliases." + name;
      if (!element.is_string()) {
        return WrongType(key, element, "a string");
      }
      const std::string target = element.as_string(std::nothrow).str;
      if (target.empty()) {
        conf_.aliases_.erase(name);
        continue;
      }
      auto parsed = oci::Reference().WithName(name);
      auto full = oci::Reference::Parse(target);
      if (!parsed.ok() || !full.ok() || full->is_short_name() || full->Name() != target) {
        return Bad(element, fmt::format("'{}' is '{}': aliases lead from a short name to a full "
                                        "name, both without tag and digest",
                                        key, target));
      }
      conf_.aliases_[name] = target;
    }
    return absl::OkStatus();
  }

  // Keys that do nothing here, in the order of their lines.
  void Warn(const toml::value& table, const std::string& path, const std::set<std::string>& known,
            const std::set<std::string>& unused) {
    std::vector<std::pair<size_t, std::string>> found;
    for (const auto& [key, value] : table.as_table(std::nothrow)) {
      if (!known.contains(key)) {
        const char* what = unused.contains(key) ? "is not used by berth" : "is not a known key";
        found.emplace_back(value.location().line(),
                           fmt::format("{}: '{}{}' {}", Where(value), path, key, what));
      }
    }
    std::sort(found.begin(), found.end());
    for (auto& [line, text] : found) {
      conf_.warnings_.push_back(std::move(text));
    }
  }

  RegistriesConf& conf_;
};

absl::StatusOr<RegistriesConf> RegistriesConf::Parse(const std::string& text,
                                                     const std::string& name) {
  RegistriesConf conf;
  RETURN_IF_ERROR(RegistriesConfParser(conf).Add(text, name));
  return conf;
}

absl::StatusOr<RegistriesConf> RegistriesConf::Load(const std::string& file, const std::string& dir,
                                                    const std::string& aliases_file) {
  std::vector<std::string> files;
  if (!file.empty() && base::PathExists(file)) {
    files.push_back(file);
  }
  if (!dir.empty() && base::PathExists(dir)) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, base::ListDir(dir));
    for (const std::string& name : names) {
      if (name.size() > 5 && name.substr(name.size() - 5) == ".conf") {
        files.push_back(dir + "/" + name);
      }
    }
  }
  RegistriesConf conf;
  RegistriesConfParser parser(conf);
  for (const std::string& path : files) {
    auto text = base::ReadFile(path, kMaxFileBytes);
    RETURN_IF_ERROR(base::Annotate(text.status(), "read registries.conf"));
    RETURN_IF_ERROR(base::Annotate(parser.Add(*text, path), "read registries.conf"));
  }
  if (!aliases_file.empty() && base::PathExists(aliases_file)) {
    // A cache that some program left is no reason not to start.
    auto text = base::ReadFile(aliases_file, kMaxFileBytes);
    const absl::Status status =
        text.ok() ? parser.Add(*text, aliases_file, /*is_aliases_only=*/true) : text.status();
    if (!status.ok()) {
      conf.warnings_.push_back(
          fmt::format("read short-name aliases: {}", std::string(status.message())));
    }
  }
  return conf;
}

}  // namespace berth::registry
