// Certificates by host: <certs_dir>/<host[:port]>/ as docker and CRI-O lay it out
// (containers-certs.d(5)): every *.crt is a CA trusted besides the system's, NAME.cert with
// NAME.key is the client certificate. Of several directories the first that has one for the host
// counts. Read at every request.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/registry/http_transport.h"
#include "lib/registry/url.h"

namespace berth::registry {

// No directory: the system's CAs alone. kInvalidArgument: a certificate without its key or the
// other way round.
absl::StatusOr<TlsSettings> TlsFor(const std::vector<std::string>& certs_dirs, const Url& url,
                                   bool insecure);

}  // namespace berth::registry
