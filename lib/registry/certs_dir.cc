#include "lib/registry/certs_dir.h"

#include <set>
#include <vector>

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::registry {

namespace {

bool TakeSuffix(const std::string& name, std::string_view suffix, std::string& stem) {
  if (name.size() <= suffix.size() ||
      name.compare(name.size() - suffix.size(), std::string::npos, suffix) != 0) {
    return false;
  }
  stem = name.substr(0, name.size() - suffix.size());
  return true;
}

absl::Status ReadDir(const std::string& dir, TlsSettings& tls) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, base::ListDir(dir));
  const std::set<std::string> all(names.begin(), names.end());
  for (const std::string& name : names) {
    std::string stem;
    if (TakeSuffix(name, ".crt", stem)) {
      tls.ca_files.push_back(dir + "/" + name);
    } else if (TakeSuffix(name, ".cert", stem)) {
      if (!all.contains(stem + ".key")) {
        return base::MakeStatus(
            absl::StatusCode::kInvalidArgument,
            fmt::format("client certificate '{}/{}' has no '{}.key' beside it", dir, name, stem));
      }
      tls.client_cert_file = dir + "/" + name;
      tls.client_key_file = dir + "/" + stem + ".key";
    } else if (TakeSuffix(name, ".key", stem) && !all.contains(stem + ".cert")) {
      return base::MakeStatus(
          absl::StatusCode::kInvalidArgument,
          fmt::format("client key '{}/{}' has no '{}.cert' beside it", dir, name, stem));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsSettings> TlsFor(const std::vector<std::string>& certs_dirs, const Url& url,
                                   bool insecure) {
  TlsSettings tls;
  tls.verify = !insecure;
  if (url.scheme != "https") {
    return tls;
  }
  std::set<std::string> hosts = {url.HostPort(), url.host + ":" + url.port};
  if (url.host == "registry-1.docker.io") {
    hosts.insert("docker.io");
  }
  // A redirect may name any host; those are paths.
  std::erase_if(hosts, [](const std::string& host) {
    return host.front() == '.' || host.find('/') != std::string::npos;
  });
  bool found = false;
  for (auto dir = certs_dirs.begin(); dir != certs_dirs.end() && !found; ++dir) {
    for (const std::string& host : hosts) {
      const absl::Status status = ReadDir(*dir + "/" + host, tls);
      if (!status.ok() && !absl::IsNotFound(status)) {
        return status;
      }
      found = found || status.ok();
    }
  }
  return tls;
}

}  // namespace berth::registry
