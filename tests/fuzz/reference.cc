// Names of images, as users, the kubelet and registries.conf write them.
#include "lib/oci/reference.h"

#include "tests/fuzz/fuzz_target.h"

namespace berth::oci {

namespace {

void ExpectSame(const std::string& text, const Reference& reference) {
  const absl::StatusOr<Reference> again = Reference::Parse(text);
  BERTH_CHECK(again.ok());
  BERTH_CHECK(*again == reference);
}

}  // namespace

FUZZ_TARGET(reference) {
  const absl::StatusOr<Digest> digest = Digest::Parse(input);
  BERTH_CHECK(!digest.ok() || digest->ToString() == input);
  if (IsFullImageId(input)) {
    BERTH_CHECK(MayBeImageIdPrefix(input));
  }
  const absl::StatusOr<Reference> parsed = Reference::Parse(input);
  if (!parsed.ok()) {
    return;
  }
  BERTH_CHECK(parsed->tag().empty() == parsed->digest().has_value());
  BERTH_CHECK(!parsed->domain().empty() && !parsed->path().empty());
  BERTH_CHECK(parsed->path().size() <= Reference::kMaxPath);
  BERTH_CHECK(parsed->tag().size() <= Reference::kMaxTag);
  // It becomes a URL and a line of a message.
  for (const char c : parsed->ToString()) {
    BERTH_CHECK(c > ' ' && c <= '~' && c != '?' && c != '#' && c != '%' && c != '\\');
  }
  BERTH_CHECK(("/" + parsed->path() + "/").find("/../") == std::string::npos);
  ExpectSame(parsed->ToString(), *parsed);
  ExpectSame(parsed->ToFamiliarString(), *parsed);
  const absl::StatusOr<Reference> renamed = parsed->WithName("quay.io/x/y");
  BERTH_CHECK(renamed.ok() && renamed->tag() == parsed->tag() && !renamed->is_short_name());
}

}  // namespace berth::oci
