#include "cmd/berthctl/store_commands.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace berth::berthctl {
namespace {

v1::CheckResponse Report() {
  v1::CheckResponse report;
  report.set_images(3);
  report.set_layers(7);
  report.set_pods(1);
  return report;
}

TEST(CheckTextTest, NoProblems) {
  EXPECT_EQ(CheckText(Report()), "3 images, 7 layers, 1 pods, 0 containers: no problems\n");
}

TEST(CheckTextTest, ProblemsNotesAndWhatBecameOfThem) {
  v1::CheckResponse report = Report();
  report.set_verified_layers(5);
  report.set_left(1);
  report.add_notes("layer 4 has no recipe");
  for (const bool repaired : {true, false}) {
    v1::CheckProblem& problem = *report.add_problems();
    problem.set_kind("layer");
    problem.set_object("12");
    problem.set_text("its directory is gone");
    problem.set_repaired(repaired);
    problem.set_advice(repaired ? "forgotten" : "left: in use");
  }
  EXPECT_EQ(CheckText(report),
            "layer 12: its directory is gone\n"
            "    repaired: forgotten\n"
            "layer 12: its directory is gone\n"
            "    left: in use\n"
            "note: layer 4 has no recipe\n"
            "3 images, 7 layers (5 read), 1 pods, 0 containers: 2 problems, 1 left\n");
}

TEST(CheckJsonTest, HasTheNamesOfTheInterface) {
  const auto json = nlohmann::json::parse(*CheckJson(Report()));
  EXPECT_EQ(json["verified_layers"], 0);
  EXPECT_EQ(json["images"], 3);
  EXPECT_TRUE(json["problems"].is_array());
}

}  // namespace
}  // namespace berth::berthctl
