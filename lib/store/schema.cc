// The tables, version by version. A step is never changed once released; a new one is added.
#include "lib/base/status.h"
#include "lib/store/database.h"

namespace berth::store {

const int kSchemaVersion = 2;

namespace {

// layers.boot_id: not known to be on the disk yet; the boot (/proc/sys/kernel/random/boot_id)
// during which it was unpacked. NULL: on the disk, as everything was that version 1 called
// complete.
constexpr char kStep1[] = "ALTER TABLE layers ADD COLUMN boot_id TEXT;";

}  // namespace

const char* SchemaStep(int from_version) {
  if (from_version == 1) {
    return kStep1;
  }
  BERTH_CHECK(from_version == 0);
  // layers.number names the directory; AUTOINCREMENT never gives a number twice, so a leftover
  // directory of a removed or half-unpacked layer can never be taken for another one's. complete =
  // 0: being unpacked.
  return R"sql(
CREATE TABLE layers(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  diff_id TEXT NOT NULL,
  complete INTEGER NOT NULL DEFAULT 0,
  size_bytes INTEGER NOT NULL DEFAULT 0,
  inodes INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX layers_by_diff_id ON layers(diff_id) WHERE complete = 1;
CREATE TABLE images(
  id TEXT PRIMARY KEY,
  config BLOB NOT NULL,
  created_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE image_layers(
  image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  layer INTEGER NOT NULL REFERENCES layers(number),
  PRIMARY KEY(image_id, position)) WITHOUT ROWID;
CREATE INDEX image_layers_by_layer ON image_layers(layer);
CREATE TABLE image_names(
  name TEXT PRIMARY KEY,
  image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE) WITHOUT ROWID;
CREATE TABLE image_digests(
  name TEXT NOT NULL,
  image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
  PRIMARY KEY(name, image_id)) WITHOUT ROWID;
CREATE TABLE sandboxes(
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE containers(
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  record BLOB NOT NULL) WITHOUT ROWID;
)sql";
}

}  // namespace berth::store
