// RecordStore: sandbox and container records in the database, by id, names unique. Bytes are
// model::Encode's. Threads: thread-safe. Durability: survives the daemon's death; no fsync. Errors:
// Put of a name that another id holds: kAlreadyExists; others as Database.
#pragma once

#include <vector>

#include "lib/model/container.h"
#include "lib/model/sandbox.h"
#include "lib/store/database.h"

namespace berth::store {

class RecordStore {
 public:
  explicit RecordStore(Database& db) : db_(db) {}

  // kGivesRoom: of a pod that ends.
  absl::Status Put(const model::SandboxRecord& record, Purpose purpose = Purpose::kTakesRoom);
  absl::Status Put(const model::ContainerRecord& record);
  // Absent: OK.
  absl::Status Remove(const model::SandboxId& id);
  absl::Status Remove(const model::ContainerId& id);

  // Everything stored. A record that cannot be decoded is left out and named in `unreadable`
  // ("container 'id': why").
  struct All {
    std::vector<model::SandboxRecord> sandboxes;
    std::vector<model::ContainerRecord> containers;
    std::vector<std::string> unreadable;
  };
  absl::StatusOr<All> Load();

 private:
  absl::Status Put(Purpose purpose, const char* sql, const std::string& id, const std::string& name,
                   const std::string& bytes);
  absl::Status Remove(const char* sql, const std::string& id);
  Database& db_;
};

}  // namespace berth::store
