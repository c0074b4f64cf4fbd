// Finding: a problem and what to do about it. What the comparison finds is carried out, or not, by
// store_repair.cc. Threads: values and functions without state.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "lib/check/store_check.h"
#include "lib/check/survey.h"

namespace berth::check {

struct Finding {
  enum class Cure {
    kNone,         // `problem.advice` says what to do
    kForgetImage,  // problem.object is its id
    kForgetLayer,  // `layer`
    kUnmount,      // problem.object is the mount point
    kRemove,       // problem.object is a file or directory, `owner` the container that it may be of
  };
  Problem problem;
  Cure cure = Cure::kNone;
  int64_t layer = 0;
  std::string owner = {};
};

// What the survey shows by itself. `is_live`: what is being imported and removed is left out.
std::vector<Finding> Compare(const CheckDeps& deps, const Survey& survey, bool is_live);

// Reads the files of every complete layer whose directory is there. Counts and notes go to
// `report`.
absl::StatusOr<std::vector<Finding>> CheckLayers(const base::OpContext& ctx, const CheckDeps& deps,
                                                 const Survey& survey, Report& report);

// Does what can be done, and says in each problem what became of it.
absl::Status Repair(const base::OpContext& ctx, const CheckDeps& deps, const Survey& survey,
                    std::vector<Finding>& findings);

}  // namespace berth::check
