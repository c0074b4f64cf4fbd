#include "lib/sandbox/sandbox_files.h"

#include "gtest/gtest.h"

namespace berth::sandbox {
namespace {

TEST(ResolvConfTest, OrderIsSearchServersOptions) {
  model::DnsConfig dns;
  EXPECT_EQ(*ResolvConf(dns), "");
  dns = {{"10.0.0.10", "fd00::a"}, {"ns.svc.cluster.local", "cluster.local"}, {"ndots:5", "edns0"}};
  EXPECT_EQ(*ResolvConf(dns),
            "search ns.svc.cluster.local cluster.local\nnameserver 10.0.0.10\nnameserver "
            "fd00::a\noptions ndots:5 edns0\n");
}

TEST(ResolvConfTest, LineBreaksAreRefused) {
  for (const std::string& bad : {std::string("1.1.1.1\nnameserver 6.6.6.6"), std::string("a\rb"),
                                 std::string("a\0b", 3), std::string()}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ResolvConf({{bad}, {}, {}}).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(ResolvConf({{}, {}, {bad}}).status()));
  }
}

TEST(RootTest, OfAPod) {
  model::SandboxSpec spec;
  EXPECT_EQ(RootOf(spec), base::Owner());
  spec.namespaces.user = model::NamespaceMode::kPod;
  spec.namespaces.uids = {{5, 1, 10}, {100000, 0, 1}};
  spec.namespaces.gids = {{200000, 0, 1}};
  EXPECT_EQ(RootOf(spec), (base::Owner{100000, 200000}));
}

TEST(HostnameTest, AskedNodeOrId) {
  model::SandboxSpec spec;
  const model::SandboxId id("0123456789abcdef");
  EXPECT_EQ(EffectiveHostname(spec, id, "node"), "0123456789ab");
  spec.hostname = "web";
  EXPECT_EQ(EffectiveHostname(spec, id, "node"), "web");
  spec.namespaces.network = model::NamespaceMode::kNode;
  EXPECT_EQ(EffectiveHostname(spec, id, "node"), "node");
}

}  // namespace
}  // namespace berth::sandbox
