// Rules: the forms that text values of the configuration may have. Part of daemon/config only.
#pragma once

#include <string>

namespace berth::config {

struct Rule {
  const char* expected;          // completes "expected ..."
  bool (*accept)(std::string&);  // may tidy the value (a path's final slash)
};

extern const Rule kAnyText;       // no control characters
extern const Rule kPath;          // absolute; a final '/' is dropped
extern const Rule kOptionalPath;  // or empty
extern const Rule kUnixUrl;       // unix:///PATH that fits a socket address
extern const Rule kIpAddress;
extern const Rule kOptionalEndpoint;  // ADDRESS:PORT or empty
extern const Rule kHandlerName;
extern const Rule kHandlerType;
extern const Rule kExecCpuAffinity;
extern const Rule kCgroupManager;
extern const Rule kCapability;
extern const Rule kSysctl;
extern const Rule kUlimit;
extern const Rule kApparmorProfile;
extern const Rule kTlsVersion;
extern const Rule kCipherSuite;
extern const Rule kLogLevel;
extern const Rule kLogFormat;

}  // namespace berth::config
