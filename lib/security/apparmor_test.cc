#include "lib/security/apparmor.h"

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/testing/fake_process_runner.h"

namespace berth::security {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Type = model::SecurityProfile::Type;

constexpr char kProfiles[] = "kernel/security/apparmor/profiles";

class ApparmorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-apparmor-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    options_ = {.loaded_text_path = dir_ + "/loaded",
                .sys = dir_,
                .parser = "/sbin/apparmor_parser",
                .abi = dir_ + "/abi"};
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  void Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ + "/" + name;
    ASSERT_TRUE(base::MakeDirs(path.substr(0, path.rfind('/'))).ok());
    ASSERT_TRUE(base::WriteFile(path, text, 0600).ok());
  }
  // A kernel with AppArmor and these profiles.
  void Kernel(const std::string& profiles) {
    Write("module/apparmor/parameters/enabled", "Y\n");
    Write(kProfiles, profiles);
  }
  absl::StatusOr<Apparmor> Load() {
    return Apparmor::Load(base::OpContext::WithTimeout(absl::Seconds(5)), runner_, options_);
  }
  static model::SecurityProfile Localhost(const std::string& name) {
    return {.type = Type::kLocalhost, .localhost_ref = name};
  }

  std::string dir_;
  ApparmorOptions options_;
  int exit_code_ = 0;
  bool takes_effect_ = true;
  // A parser that loads what it is given.
  base::FakeProcessRunner runner_{[this](const base::ProcessSpec&, std::string_view) {
    if (exit_code_ == 0 && takes_effect_) {
      Write(kProfiles, "lsb_release (enforce)\nberth-default (enforce)\n");
    }
    return base::FakeProcessRunner::Exits(exit_code_, "", "no permission\nmore\n");
  }};
};

TEST_F(ApparmorTest, WithoutItInTheKernel) {
  for (const bool has_parameter : {false, true}) {
    if (has_parameter) {
      Write("module/apparmor/parameters/enabled", "N\n");
    }
    const auto apparmor = Load();
    ASSERT_TRUE(apparmor.ok()) << apparmor.status();
    EXPECT_FALSE(apparmor->in_use());
    EXPECT_THAT(apparmor->warnings(), IsEmpty());
    EXPECT_EQ(*apparmor->For(std::nullopt, false), "");
    EXPECT_EQ(*apparmor->For(model::SecurityProfile{.type = Type::kUnconfined}, false), "");
    const auto named = apparmor->For(Localhost("strict"), false);
    EXPECT_EQ(named.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(named.status().message()),
                HasSubstr("'strict': AppArmor is not in use"));
  }
  EXPECT_THAT(runner_.calls(), IsEmpty());
}

TEST_F(ApparmorTest, ANamedProfileWithoutItInTheKernelIsTold) {
  options_.profile = "ours";
  EXPECT_THAT(Load()->warnings(), ElementsAre(HasSubstr("'ours'")));
}

TEST_F(ApparmorTest, ProfilesThatCannotBeSeen) {
  Write("module/apparmor/parameters/enabled", "Y\n");
  const auto apparmor = Load();
  ASSERT_TRUE(apparmor.ok()) << apparmor.status();
  EXPECT_FALSE(apparmor->in_use());
  EXPECT_THAT(apparmor->warnings(), ElementsAre(HasSubstr("securityfs")));
  EXPECT_EQ(*apparmor->For(std::nullopt, false), "");
}

TEST_F(ApparmorTest, TheDefaultIsLoadedOnce) {
  Kernel("lsb_release (enforce)\n");
  const auto apparmor = Load();
  ASSERT_TRUE(apparmor.ok()) << apparmor.status();
  EXPECT_TRUE(apparmor->in_use());
  EXPECT_THAT(apparmor->warnings(), IsEmpty());
  const auto calls = runner_.calls();
  ASSERT_EQ(calls.size(), 1);
  EXPECT_THAT(calls[0].spec.argv,
              ElementsAre("/sbin/apparmor_parser", "--replace", "--skip-cache"));
  EXPECT_EQ(calls[0].input, DefaultApparmorText());
  EXPECT_THAT(calls[0].input, HasSubstr("\nprofile berth-default "));
  EXPECT_EQ(*apparmor->For(std::nullopt, false), "berth-default");
  EXPECT_EQ(*apparmor->For(model::SecurityProfile{.type = Type::kRuntimeDefault}, false),
            "berth-default");
  ASSERT_TRUE(Load().ok());
  EXPECT_EQ(runner_.calls().size(), 1) << "loaded already";
}

TEST_F(ApparmorTest, WhatItMeansIsPinnedWhereTheParserKnowsHow) {
  Kernel("");
  Write("abi", "");
  ASSERT_TRUE(Load().ok());
  EXPECT_THAT(runner_.calls().at(0).input, StartsWith("abi <abi/3.0>,\n# berth's"));
}

TEST_F(ApparmorTest, AnEarlierTextIsReplaced) {
  Kernel("berth-default (enforce)\n");
  Write("loaded", "what berth had before");
  ASSERT_TRUE(Load().ok());
  EXPECT_EQ(runner_.calls().size(), 1);
  EXPECT_EQ(*base::ReadFile(options_.loaded_text_path, 1 << 20), DefaultApparmorText());
}

TEST_F(ApparmorTest, SomebodyElsesProfileOfThatNameStays) {
  Kernel("berth-default (complain)\n");
  const auto apparmor = Load();
  ASSERT_TRUE(apparmor.ok()) << apparmor.status();
  EXPECT_THAT(runner_.calls(), IsEmpty());
  EXPECT_EQ(*apparmor->For(std::nullopt, false), "berth-default");
}

TEST_F(ApparmorTest, WithoutAParser) {
  options_.parser = "";
  Kernel("");
  const auto apparmor = Load();
  ASSERT_TRUE(apparmor.ok()) << apparmor.status();
  EXPECT_THAT(apparmor->warnings(), ElementsAre(HasSubstr("run without one")));
  EXPECT_TRUE(apparmor->in_use());
  EXPECT_EQ(*apparmor->For(std::nullopt, false), "");

  Kernel("berth-default (enforce)\n");
  Write("loaded", "what berth had before");
  const auto loaded = Load();
  EXPECT_THAT(loaded->warnings(), ElementsAre(HasSubstr("an earlier berthd loaded")));
  EXPECT_EQ(*loaded->For(std::nullopt, false), "berth-default");
}

TEST_F(ApparmorTest, AParserThatFailsStopsTheStart) {
  Kernel("");
  exit_code_ = 1;
  const absl::Status status = Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "load AppArmor profile 'berth-default': /sbin/apparmor_parser ended with 1: no "
            "permission (to run containers without it, set runtime.apparmor_profile to "
            "'unconfined')");
  EXPECT_FALSE(base::PathExists(options_.loaded_text_path));
  exit_code_ = 0;
  takes_effect_ = false;
  EXPECT_THAT(std::string(Load().status().message()), HasSubstr("the kernel does not have it"));
}

TEST_F(ApparmorTest, TheAdministratorsProfileMustBeLoaded) {
  Kernel("berth-default (enforce)\nours (enforce)\n");
  options_.profile = "ours";
  EXPECT_EQ(*Load()->For(std::nullopt, false), "ours");
  options_.profile = "our";
  EXPECT_THAT(std::string(Load().status().message()),
              HasSubstr("'our' of runtime.apparmor_profile is not loaded"));
  EXPECT_THAT(runner_.calls(), IsEmpty());
}

TEST_F(ApparmorTest, Unconfined) {
  Kernel("strict (enforce)\n");
  options_.profile = "unconfined";
  const auto apparmor = Load();
  ASSERT_TRUE(apparmor.ok());
  EXPECT_EQ(*apparmor->For(std::nullopt, false), "");
  EXPECT_EQ(*apparmor->For(Localhost("strict"), false), "strict");
  EXPECT_THAT(runner_.calls(), IsEmpty());
}

TEST_F(ApparmorTest, ProfilesByName) {
  Kernel("/usr/bin/a (b) (enforce)\nstrict (complain)\nlast//child (kill)");
  options_.profile = "strict";
  const auto apparmor = Load();
  ASSERT_TRUE(apparmor.ok());
  for (const char* name : {"/usr/bin/a (b)", "strict", "last//child"}) {
    EXPECT_EQ(*apparmor->For(Localhost(name), false), name);
  }
  for (const char* name : {"/usr/bin/a", "strict (complain)", "str", "child", ""}) {
    EXPECT_EQ(apparmor->For(Localhost(name), false).status().code(),
              absl::StatusCode::kFailedPrecondition)
        << name;
  }
  EXPECT_EQ(*apparmor->For(model::SecurityProfile{.type = Type::kUnconfined}, false), "");
}

TEST_F(ApparmorTest, PrivilegedContainersHaveNoneUnlessNamed) {
  Kernel("berth-default (enforce)\nstrict (enforce)\n");
  const auto apparmor = Load();
  ASSERT_TRUE(apparmor.ok());
  EXPECT_EQ(*apparmor->For(std::nullopt, true), "");
  EXPECT_EQ(*apparmor->For(model::SecurityProfile{.type = Type::kRuntimeDefault}, true), "");
  EXPECT_EQ(*apparmor->For(Localhost("strict"), true), "strict");
}

}  // namespace
}  // namespace berth::security
