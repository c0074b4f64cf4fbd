// A matrix of what a kubelet and an administrator can ask for: each row changes one thing of an
// ordinary request (testing/matrix_world.h, matrix_rows.h), and testdata/matrix.json has what that
// changes in config.json, as a JSON Patch against "base", the document of the request itself. Row
// "a + b" changes what row "a" makes of it, and is compared with that. In a patch, "was" is what
// was there before. "passwd" is the file that is mounted on /etc/passwd.
//
// After a change that is meant, run the test with BERTH_UPDATE_GOLDEN=1 and review the difference
// like code. What is different from CRI-O is in docs/oci-spec.md.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"
#include "lib/spec/testing/json_diff.h"
#include "lib/spec/testing/matrix_rows.h"
#include "lib/spec/testing/matrix_world.h"

namespace berth::spec {
namespace {

using Json = nlohmann::json;
using Row = MatrixRow;
using Rows = MatrixRows;
using World = MatrixWorld;

class SpecMatrix : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = ::testing::TempDir() + "/spec_matrix.XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
    Write("etc/passwd", kMatrixPasswd);
    Write("etc/group", kMatrixGroup);
    Write("seccomp.json", R"({"defaultAction": "SCMP_ACT_LOG"})");
    Write("sys/module/apparmor/parameters/enabled", "Y\n");
    Write("sys/kernel/security/apparmor/profiles", "node-default (enforce)\nstrict (enforce)\n");
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(root_).ok()); }

  void Write(const std::string& name, const std::string& text) {
    const std::string path = root_ + "/" + name;
    ASSERT_TRUE(base::MakeDirs(path.substr(0, path.rfind('/')), 0755).ok());
    ASSERT_TRUE(base::WriteFile(path, text, 0644).ok());
  }

  Rows AllRows() const {
    return Together({SecurityRows(root_ + "/seccomp.json"), MountAndDeviceRows(), ProcessRows()});
  }

  std::string root_;
};

const std::string& DataPath() {
  static const auto* const path = new std::string(BERTH_SPEC_TESTDATA "/matrix.json");
  return *path;
}

using Patches = std::vector<std::pair<std::string, Json>>;

// Of "a + b": "a"; nullptr: compared with the base.
const Row* FirstOf(const Row& row, const Rows& rows) {
  const std::string name = row.name;
  const size_t plus = name.find(" + ");
  if (plus == std::string::npos) {
    return nullptr;
  }
  const auto first = std::find_if(rows.begin(), rows.end(), [&](const Row& other) {
    return name.substr(0, plus) == other.name;
  });
  EXPECT_NE(first, rows.end()) << "no first row of '" << name << "'";
  return first == rows.end() ? nullptr : &*first;
}

void ExpectStored(const Json& want, const Json& base, const Patches& patches) {
  EXPECT_EQ(base, want["base"]) << JsonDiff(want["base"], base).dump(1);
  std::set<std::string> names;
  for (const auto& [name, patch] : patches) {
    EXPECT_TRUE(names.insert(name).second) << "two rows are called '" << name << "'";
    if (!want["rows"].contains(name)) {
      ADD_FAILURE() << "row '" << name << "' is not in " << DataPath();
      continue;
    }
    EXPECT_EQ(patch, want["rows"][name]) << "row '" << name << "'";
  }
  for (const auto& [name, patch] : want["rows"].items()) {
    EXPECT_EQ(names.count(name), 1u) << "'" << name << "' of " << DataPath() << " is no row";
  }
}

// An operation a line, and the rows in their order: for people.
std::string Render(const Json& base, const Patches& patches) {
  std::string text = "{\n\"base\": " + base.dump(1) + ",\n\"rows\": {\n";
  for (size_t i = 0; i < patches.size(); ++i) {
    text += " " + Json(patches[i].first).dump() + ": [";
    const Json& patch = patches[i].second;
    for (size_t j = 0; j < patch.size(); ++j) {
      text += (j == 0 ? "\n  " : ",\n  ") + patch[j].dump();
    }
    text += i + 1 < patches.size() ? "],\n" : "]\n";
  }
  return text + "}\n}\n";
}

TEST_F(SpecMatrix, Equals) {
  const absl::StatusOr<Json> base = World().Build(root_);
  ASSERT_TRUE(base.ok()) << base.status();
  const Rows rows = AllRows();
  Patches patches;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const Row* const first = FirstOf(row, rows);
    World world;
    Json from = *base;
    if (first != nullptr) {
      first->change(world);
      const absl::StatusOr<Json> built = world.Build(root_);
      ASSERT_TRUE(built.ok()) << built.status();
      from = *built;
    }
    row.change(world);
    const absl::StatusOr<Json> got = world.Build(root_);
    ASSERT_TRUE(got.ok()) << got.status();
    patches.emplace_back(row.name, JsonDiff(from, *got));
    ASSERT_EQ(from.patch(patches.back().second), *got) << "the difference is wrong";
  }
  if (std::getenv("BERTH_UPDATE_GOLDEN") != nullptr) {
    ASSERT_TRUE(base::WriteFile(DataPath(), Render(*base, patches), 0644).ok());
  }
  const auto text = base::ReadFile(DataPath(), 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  ExpectStored(Json::parse(*text), *base, patches);
}

TEST(JsonDiff, IsShortAndExact) {
  const Json from = {{"a", {1, 2, 3, 4}}, {"b", {{"c", 1}, {"d/e", 2}}}, {"gone", true}};
  const Json to = {{"a", {1, 9, 3, 5, 6}}, {"b", {{"c", "x"}, {"d/e", 2}}}, {"new", {{"f", 1}}}};
  const Json want = Json::parse(R"([
      {"op": "replace", "path": "/a/3", "value": 5, "was": 4},
      {"op": "add", "path": "/a/4", "value": 6},
      {"op": "replace", "path": "/a/1", "value": 9, "was": 2},
      {"op": "replace", "path": "/b/c", "value": "x", "was": 1},
      {"op": "remove", "path": "/gone", "was": true},
      {"op": "add", "path": "/new", "value": {"f": 1}}])");
  EXPECT_EQ(JsonDiff(from, to), want) << JsonDiff(from, to).dump(1);
  EXPECT_EQ(from.patch(JsonDiff(from, to)), to);
  EXPECT_EQ(to.patch(JsonDiff(to, from)), from);
  EXPECT_EQ(JsonDiff(from, from), Json::array());
}

}  // namespace
}  // namespace berth::spec
