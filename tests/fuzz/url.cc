// URLs of registries and token servers, and where they redirect to. First line: the URL that
// answered; the rest is its Location header.
#include "lib/registry/url.h"

#include "tests/fuzz/fuzz_target.h"

namespace berth::registry {

namespace {

void CheckUrl(const Url& url) {
  BERTH_CHECK(url.scheme == "http" || url.scheme == "https");
  BERTH_CHECK(!url.host.empty() && !url.port.empty());
  for (const char c : url.host) {
    BERTH_CHECK(static_cast<unsigned char>(c) > ' ' && c != '/' && c != '@' && c != '?' &&
                c != '#' && c != '\\');
  }
  for (const char c : url.text) {
    BERTH_CHECK(static_cast<unsigned char>(c) > ' ' && c != '\x7f');
  }
  // What is fetched is what was looked at.
  const absl::StatusOr<Url> again = Url::Parse(url.text);
  BERTH_CHECK(again.ok());
  BERTH_CHECK(again->SameOrigin(url));
  (void)url.HostPort();
  // Without the query, perhaps with "..." where it was cut.
  BERTH_CHECK(url.ForMessage().size() <=
              std::min(url.text.find_first_of("?#"), url.text.size()) + 3);
}

}  // namespace

FUZZ_TARGET(url) {
  fuzz::Input parts(input);
  const absl::StatusOr<Url> base = Url::Parse(parts.Line());
  const std::string_view location = parts.Rest();
  (void)UrlEncode(location);
  if (!base.ok()) {
    return;
  }
  CheckUrl(*base);
  const absl::StatusOr<Url> target = base->Resolve(location);
  if (target.ok()) {
    CheckUrl(*target);
  }
}

}  // namespace berth::registry
