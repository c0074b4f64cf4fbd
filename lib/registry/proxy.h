// Proxy: which proxy a URL is fetched through, by the environment, with the rules of Go's
// httpproxy (golang.org/x/net), which nodes are configured for: libcurl's NO_PROXY differs.
//
// HTTPS_PROXY is for https URLs, HTTP_PROXY for http ones; in lower case when that in capitals is
// absent. NO_PROXY is a list, separated by commas: "*"; an IP address or network (10.0.0.0/8) for
// hosts that are written as addresses, names are not resolved; "example.com" for the host and all
// below it; ".example.com" and "*.example.com" for those below alone; each but a network also with
// ":port". Loopback and "localhost" never go through a proxy. ALL_PROXY is not read. A socks5 proxy
// is asked for names, which libcurl calls socks5h.
//
// Threads: pure functions; the environment must not change meanwhile.
#pragma once

#include <functional>
#include <string>

#include "lib/registry/url.h"

namespace berth::registry {

// A variable's value; "" when unset.
using GetEnv = std::function<std::string(const char* name)>;
std::string SystemEnv(const char* name);

// "http://[user:password@]host:port", also https, socks5h; "": none, connect directly.
std::string ProxyFor(const Url& url, const GetEnv& env = SystemEnv);

// Its host and port, without user and password.
std::string ProxyForMessage(const std::string& proxy);

}  // namespace berth::registry
