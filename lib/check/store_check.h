// StoreCheck: compares what the database says with what lies on the disk, and can put it right.
//
// It looks at: the database's file; every image (its id, names, layers); every layer's directory
// and, when asked, its content; recipes; what is half removed; containers' and pods' directories
// and mounts below root and state, and the records that they belong to. Repairing forgets images
// whose layers are damaged, so that they are pulled again, and removes what belongs to nobody. It
// never takes away what a container uses, and says so.
//
// Beside a running daemon everything is looked at twice, some time apart, and what was found both
// times counts: in between something is always half-made.
//
// Threads: one per check. Blocking: reads every layer when asked. Ownership: borrows everything in
// CheckDeps.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/base/op_context.h"
#include "lib/mount/mounter.h"
#include "lib/store/image_store.h"
#include "lib/store/paths.h"
#include "lib/store/record_store.h"

namespace berth::check {

// What a problem is about; the words of `berthctl check --json`.
inline constexpr char kDatabase[] = "database";    // the file, or a row of it
inline constexpr char kImage[] = "image";          // id, names or layers of an image
inline constexpr char kLayer[] = "layer";          // a layer's directory or content
inline constexpr char kLeftover[] = "leftover";    // a file or directory of nobody
inline constexpr char kMount[] = "mount";          // a mount of nobody
inline constexpr char kContainer[] = "container";  // something that a container or pod lacks

struct Problem {
  std::string kind;
  std::string object;  // a path, an id or a layer's number
  std::string text;    // what is wrong with it
  bool is_repaired = false;
  std::string advice;  // what was done; or why nothing was, and what to do
};

struct Report {
  std::vector<Problem> problems;
  std::vector<std::string> notes;  // worth knowing, no problems
  size_t images = 0;
  size_t layers = 0;
  size_t verified_layers = 0;  // by their content
  size_t containers = 0;
  size_t pods = 0;

  // Problems that are still there.
  size_t Left() const;
};

struct CheckOptions {
  bool layers = false;  // read every layer's files
  bool repair = false;
  // A daemon works on the root meanwhile: unfinished pulls, imports and removals are its own.
  bool is_live = false;
  absl::Duration second_look = absl::Milliseconds(500);  // when live
};

struct CheckDeps {
  const store::Paths& paths;
  store::Database& database;  // what the two stores are in
  store::ImageStore& images;
  store::RecordStore& records;
  mount::Mounter& mounter;
  // Forgets images that have one of the layers, and those of these ids. Layers that nobody needs
  // then go.
  std::function<absl::Status(const std::set<int64_t>& layers, const std::set<std::string>& ids)>
      forget;
  // Beside a daemon: waits until it has removed and written what it is about to; may be empty.
  std::function<void()> settle = {};
  std::string mountinfo = "/proc/thread-self/mountinfo";
};

// Errors: the check could not be made; the context's.
absl::StatusOr<Report> CheckStore(const base::OpContext& ctx, const CheckDeps& deps,
                                  const CheckOptions& options);

}  // namespace berth::check
