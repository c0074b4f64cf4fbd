#include "lib/store/record_store.h"

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/model/record_json.h"

namespace berth::store {

absl::Status RecordStore::Put(Purpose purpose, const char* sql, const std::string& id,
                              const std::string& name, const std::string& bytes) {
  return db_.Transact(Durability::kCrash, purpose, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement statement, db.Prepare(sql));
    return statement.Bind(1, id).Bind(2, name).BindBlob(3, bytes).Run();
  });
}

absl::Status RecordStore::Remove(const char* sql, const std::string& id) {
  return db_.Transact(Durability::kCrash, Purpose::kGivesRoom, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement statement, db.Prepare(sql));
    return statement.Bind(1, id).Run();
  });
}

absl::Status RecordStore::Put(const model::SandboxRecord& record, Purpose purpose) {
  return base::Annotate(Put(purpose,
                            "INSERT INTO sandboxes(id, name, record) VALUES(?1, ?2, ?3) "
                            "ON CONFLICT(id) DO UPDATE SET record = excluded.record",
                            record.id.value(), record.spec.FullName(), model::Encode(record)),
                        fmt::format("store pod sandbox '{}'", record.id.value()));
}

absl::Status RecordStore::Put(const model::ContainerRecord& record) {
  return base::Annotate(Put(Purpose::kTakesRoom,
                            "INSERT INTO containers(id, name, record) VALUES(?1, ?2, ?3) "
                            "ON CONFLICT(id) DO UPDATE SET record = excluded.record",
                            record.id.value(), record.full_name, model::Encode(record)),
                        fmt::format("store container '{}'", record.id.value()));
}

absl::Status RecordStore::Remove(const model::SandboxId& id) {
  return base::Annotate(Remove("DELETE FROM sandboxes WHERE id = ?1", id.value()),
                        fmt::format("forget pod sandbox '{}'", id.value()));
}

absl::Status RecordStore::Remove(const model::ContainerId& id) {
  return base::Annotate(Remove("DELETE FROM containers WHERE id = ?1", id.value()),
                        fmt::format("forget container '{}'", id.value()));
}

absl::StatusOr<RecordStore::All> RecordStore::Load() {
  All all;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement sandboxes, db.Prepare("SELECT id, record FROM sandboxes"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, sandboxes.Step());
      if (!row) break;
      absl::StatusOr<model::SandboxRecord> record = model::DecodeSandbox(sandboxes.Text(1));
      if (record.ok()) {
        all.sandboxes.push_back(*std::move(record));
      } else {
        all.unreadable.push_back(fmt::format("pod sandbox '{}': {}", sandboxes.Text(0),
                                             std::string(record.status().message())));
      }
    }
    ASSIGN_OR_RETURN(Statement containers, db.Prepare("SELECT id, record FROM containers"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, containers.Step());
      if (!row) break;
      absl::StatusOr<model::ContainerRecord> record = model::DecodeContainer(containers.Text(1));
      if (record.ok()) {
        all.containers.push_back(*std::move(record));
      } else {
        all.unreadable.push_back(fmt::format("container '{}': {}", containers.Text(0),
                                             std::string(record.status().message())));
      }
    }
    return absl::OkStatus();
  }));
  return all;
}

}  // namespace berth::store
