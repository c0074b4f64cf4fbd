#include "lib/store/image_store.h"

#include <algorithm>
#include <map>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::store {

using enum Purpose;

namespace {

// Runs a query and hands each row to `row`.
absl::Status ForEach(Database& db, std::string_view sql,
                     const std::function<void(Statement&)>& row) {
  ASSIGN_OR_RETURN(Statement query, db.Prepare(sql));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) {
      return absl::OkStatus();
    }
    row(query);
  }
}

LayerRecord LayerOf(const Statement& row) {
  return {row.Int(0), row.Text(1), static_cast<uint64_t>(row.Int(2)),
          static_cast<uint64_t>(row.Int(3))};
}

absl::Status PublishLayers(Database& db, const ImageStore::Publication& publication) {
  ASSIGN_OR_RETURN(Statement complete,
                   db.Prepare("UPDATE layers SET complete = 1, size_bytes = ?2, inodes = ?3, "
                              "boot_id = nullif(?4, '') WHERE number = ?1 AND complete = 0"));
  ASSIGN_OR_RETURN(Statement exists,
                   db.Prepare("SELECT 1 FROM layers WHERE number = ?1 AND complete = 1"));
  for (const LayerRecord& layer : publication.layers) {
    const absl::Status status = complete.Bind(1, layer.number)
                                    .Bind(2, static_cast<int64_t>(layer.size_bytes))
                                    .Bind(3, static_cast<int64_t>(layer.inodes))
                                    .Bind(4, publication.boot_id)
                                    .Run();
    if (absl::IsAlreadyExists(status)) {
      return absl::AbortedError(
          fmt::format("layer '{}' was completed by another pull", layer.diff_id));
    }
    RETURN_IF_ERROR(status);
    ASSIGN_OR_RETURN(const bool there, exists.Bind(1, layer.number).Step());
    if (!there) {
      return absl::AbortedError(
          fmt::format("layer '{}' (number {}) is gone", layer.diff_id, layer.number));
    }
    RETURN_IF_ERROR(exists.Run());
  }
  return absl::OkStatus();
}

// A document that reads as a manifest and as a config has one id as both, and may have the layers
// of one only.
absl::Status CheckKind(Database& db, const ImageStore::Publication& publication) {
  ASSIGN_OR_RETURN(Statement query, db.Prepare("SELECT artifact FROM images WHERE id = ?1"));
  ASSIGN_OR_RETURN(const bool row, query.Bind(1, publication.image_id).Step());
  if (!row || (query.Int(0) != 0) != publication.is_artifact) {
    return absl::FailedPreconditionError(
        fmt::format("'{}' is here as {}; remove it first", publication.image_id,
                    publication.is_artifact ? "an image" : "an artifact"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> ImageStore::ReserveLayer(const std::string& diff_id) {
  int64_t number = 0;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement insert, db.Prepare("INSERT INTO layers(diff_id) VALUES(?1)"));
    RETURN_IF_ERROR(insert.Bind(1, diff_id).Run());
    number = db.LastInsertId();
    return absl::OkStatus();
  }));
  return number;
}

absl::Status ImageStore::DropReservedLayer(int64_t number) {
  return db_.Transact(Durability::kCrash, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement remove,
                     db.Prepare("DELETE FROM layers WHERE number = ?1 AND complete = 0"));
    return remove.Bind(1, number).Run();
  });
}

absl::Status ImageStore::Publish(const Publication& publication) {
  return base::Annotate(
      db_.Transact(
          Durability::kCrash,
          [&](Database& db) -> absl::Status {
            RETURN_IF_ERROR(PublishLayers(db, publication));
            ASSIGN_OR_RETURN(
                Statement image,
                db.Prepare("INSERT INTO images(id, config, created_ns, manifest, artifact) "
                           "VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(id) DO NOTHING"));
            RETURN_IF_ERROR(image.Bind(1, publication.image_id)
                                .BindBlob(2, publication.config)
                                .Bind(3, publication.created_ns)
                                .BindBlob(4, publication.manifest)
                                .Bind(5, static_cast<int64_t>(publication.is_artifact ? 1 : 0))
                                .Run());
            RETURN_IF_ERROR(CheckKind(db, publication));
            ASSIGN_OR_RETURN(Statement layer,
                             db.Prepare("INSERT OR REPLACE INTO image_layers VALUES(?1, ?2, ?3)"));
            for (size_t i = 0; i < publication.layers.size(); ++i) {
              RETURN_IF_ERROR(layer.Bind(1, publication.image_id)
                                  .Bind(2, static_cast<int64_t>(i))
                                  .Bind(3, publication.layers[i].number)
                                  .Run());
            }
            ASSIGN_OR_RETURN(Statement name,
                             db.Prepare("INSERT OR REPLACE INTO image_names VALUES(?1, ?2)"));
            for (const std::string& tag : publication.repo_tags) {
              RETURN_IF_ERROR(name.Bind(1, tag).Bind(2, publication.image_id).Run());
            }
            ASSIGN_OR_RETURN(Statement digest,
                             db.Prepare("INSERT OR IGNORE INTO image_digests VALUES(?1, ?2)"));
            for (const std::string& repo_digest : publication.repo_digests) {
              RETURN_IF_ERROR(digest.Bind(1, repo_digest).Bind(2, publication.image_id).Run());
            }
            return absl::OkStatus();
          }),
      fmt::format("publish image '{}'", publication.image_id));
}

absl::StatusOr<LayerRecord> ImageStore::FindLayer(const std::string& diff_id) {
  LayerRecord layer;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query,
                     db.Prepare("SELECT number, diff_id, size_bytes, inodes FROM layers "
                                "WHERE diff_id = ?1 AND complete = 1"));
    ASSIGN_OR_RETURN(const bool row, query.Bind(1, diff_id).Step());
    if (!row) {
      return absl::NotFoundError(fmt::format("no layer '{}'", diff_id));
    }
    layer = LayerOf(query);
    return absl::OkStatus();
  }));
  return layer;
}

absl::StatusOr<std::vector<LayerRecord>> ImageStore::Layers() {
  std::vector<LayerRecord> layers;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, [&](Database& db) {
    return ForEach(db, "SELECT number, diff_id, size_bytes, inodes FROM layers WHERE complete = 1",
                   [&](Statement& row) { layers.push_back(LayerOf(row)); });
  }));
  return layers;
}

absl::StatusOr<std::set<int64_t>> ImageStore::ReservedLayers() {
  std::set<int64_t> numbers;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, [&](Database& db) {
    return ForEach(db, "SELECT number FROM layers WHERE complete = 0",
                   [&](Statement& row) { numbers.insert(row.Int(0)); });
  }));
  return numbers;
}

absl::StatusOr<std::map<int64_t, std::string>> ImageStore::PendingLayers() {
  std::map<int64_t, std::string> layers;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, [&](Database& db) {
    return ForEach(db, "SELECT number, boot_id FROM layers WHERE complete = 1 AND boot_id NOT NULL",
                   [&](Statement& row) { layers[row.Int(0)] = row.Text(1); });
  }));
  return layers;
}

absl::Status ImageStore::MarkDurable(const std::map<int64_t, std::string>& layers) {
  return db_.Transact(Durability::kDisk, kGivesRoom, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(
        Statement mark,
        db.Prepare("UPDATE layers SET boot_id = NULL WHERE number = ?1 AND boot_id = ?2"));
    for (const auto& [number, boot_id] : layers) {
      RETURN_IF_ERROR(mark.Bind(1, number).Bind(2, boot_id).Run());
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<std::string>> ImageStore::FailPending() {
  std::vector<std::string> images;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, kGivesRoom, [&](Database& db) -> absl::Status {
    images.clear();
    RETURN_IF_ERROR(ForEach(db,
                            "SELECT DISTINCT image_id FROM image_layers JOIN layers "
                            "ON layer = number WHERE boot_id NOT NULL",
                            [&](Statement& row) { images.push_back(row.Text(0)); }));
    ASSIGN_OR_RETURN(Statement remove, db.Prepare("DELETE FROM images WHERE id = ?1"));
    for (const std::string& id : images) {
      RETURN_IF_ERROR(remove.Bind(1, id).Run());
    }
    // A container may still stand on it, so the record stays; the DiffID goes to the next pull.
    ASSIGN_OR_RETURN(Statement spoil, db.Prepare("UPDATE layers SET diff_id = 'damaged:' || number "
                                                 "WHERE complete = 1 AND boot_id NOT NULL"));
    return spoil.Run();
  }));
  return images;
}

absl::StatusOr<std::vector<model::ImageRecord>> ImageStore::Load() {
  std::map<std::string, model::ImageRecord> images;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, [&](Database& db) -> absl::Status {
    RETURN_IF_ERROR(
        ForEach(db, "SELECT id, config, created_ns, artifact FROM images", [&](Statement& row) {
          model::ImageRecord& image = images[row.Text(0)];
          image.id = row.Text(0);
          image.config = row.Text(1);
          image.size_bytes = image.config.size();
          image.created_ns = row.Int(2);
          image.is_artifact = row.Int(3) != 0;
        }));
    RETURN_IF_ERROR(ForEach(db,
                            "SELECT image_id, layer, diff_id, size_bytes FROM image_layers JOIN "
                            "layers ON layer = number "
                            "ORDER BY image_id, position",
                            [&](Statement& row) {
                              model::ImageRecord& image = images[row.Text(0)];
                              image.layers.insert(image.layers.begin(), row.Int(1));
                              image.diff_ids.push_back(row.Text(2));
                              image.size_bytes += static_cast<uint64_t>(row.Int(3));
                            }));
    RETURN_IF_ERROR(
        ForEach(db, "SELECT name, image_id FROM image_names ORDER BY name",
                [&](Statement& row) { images[row.Text(1)].repo_tags.push_back(row.Text(0)); }));
    return ForEach(
        db, "SELECT name, image_id FROM image_digests ORDER BY name",
        [&](Statement& row) { images[row.Text(1)].repo_digests.push_back(row.Text(0)); });
  }));
  std::vector<model::ImageRecord> list;
  for (auto& [id, image] : images) {
    list.push_back(std::move(image));
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const auto& a, const auto& b) { return a.created_ns > b.created_ns; });
  return list;
}

absl::Status ImageStore::RemoveImage(const std::string& image_id) {
  return db_.Transact(Durability::kCrash, kGivesRoom, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement remove, db.Prepare("DELETE FROM images WHERE id = ?1"));
    return remove.Bind(1, image_id).Run();
  });
}

absl::StatusOr<std::string> ImageStore::Manifest(const std::string& image_id) {
  std::string manifest;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, db.Prepare("SELECT manifest FROM images WHERE id = ?1"));
    ASSIGN_OR_RETURN(const bool row, query.Bind(1, image_id).Step());
    if (!row) {
      return absl::NotFoundError(fmt::format("no image '{}'", image_id));
    }
    manifest = query.Text(0);
    return absl::OkStatus();
  }));
  return manifest;
}

absl::StatusOr<std::vector<std::string>> ImageStore::CondemnLayers(
    const std::set<int64_t>& numbers) {
  std::set<std::string> images;
  RETURN_IF_ERROR(db_.Transact(Durability::kDisk, kGivesRoom, [&](Database& db) -> absl::Status {
    images.clear();
    ASSIGN_OR_RETURN(Statement of_layer,
                     db.Prepare("SELECT image_id FROM image_layers WHERE layer = ?1"));
    // Its DiffID is another layer's from now on; the number makes the text unique.
    ASSIGN_OR_RETURN(
        Statement condemn,
        db.Prepare("UPDATE layers SET diff_id = 'damaged:' || number WHERE number = ?1 "
                   "AND complete = 1"));
    for (const int64_t number : numbers) {
      of_layer.Bind(1, number);
      while (true) {
        ASSIGN_OR_RETURN(const bool row, of_layer.Step());
        if (!row) {
          break;
        }
        images.insert(of_layer.Text(0));
      }
      RETURN_IF_ERROR(condemn.Bind(1, number).Run());
    }
    ASSIGN_OR_RETURN(Statement remove, db.Prepare("DELETE FROM images WHERE id = ?1"));
    for (const std::string& id : images) {
      RETURN_IF_ERROR(remove.Bind(1, id).Run());
    }
    return absl::OkStatus();
  }));
  return std::vector<std::string>(images.begin(), images.end());
}

absl::StatusOr<std::vector<LayerRecord>> ImageStore::CollectLayers(
    const std::set<int64_t>& in_use) {
  std::vector<LayerRecord> collected;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, kGivesRoom, [&](Database& db) -> absl::Status {
    collected.clear();
    RETURN_IF_ERROR(ForEach(db,
                            "SELECT number, diff_id, size_bytes, inodes FROM layers "
                            "WHERE complete = 1 AND number NOT IN (SELECT layer FROM image_layers)",
                            [&](Statement& row) {
                              if (!in_use.contains(row.Int(0))) {
                                collected.push_back(LayerOf(row));
                              }
                            }));
    ASSIGN_OR_RETURN(Statement remove, db.Prepare("DELETE FROM layers WHERE number = ?1"));
    for (const LayerRecord& layer : collected) {
      RETURN_IF_ERROR(remove.Bind(1, layer.number).Run());
    }
    return absl::OkStatus();
  }));
  return collected;
}

absl::StatusOr<std::set<int64_t>> ImageStore::ForgetReserved() {
  std::set<int64_t> complete;
  RETURN_IF_ERROR(db_.Transact(Durability::kCrash, kGivesRoom, [&](Database& db) -> absl::Status {
    complete.clear();
    ASSIGN_OR_RETURN(Statement remove, db.Prepare("DELETE FROM layers WHERE complete = 0"));
    RETURN_IF_ERROR(remove.Run());
    return ForEach(db, "SELECT number FROM layers",
                   [&](Statement& row) { complete.insert(row.Int(0)); });
  }));
  return complete;
}

}  // namespace berth::store
