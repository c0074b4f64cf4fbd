// Database: the one SQLite file that holds what must survive a reboot. A thin owner of the
// connection; the tables have typed owners (ImageStore, RecordStore).
//
// Durability: WAL with synchronous=NORMAL: a commit is atomic and survives the daemon's death,
// without an fsync. After a transaction with Durability::kDisk the log is synced, by a descriptor
// of its own and after the lock is free, so that nobody's transaction waits for the disk; it is on
// the disk when Transact() returns, and others may see it before that. The log is folded into the
// database ("checkpoint", two fsyncs) by a thread of its own; transactions wait for the second
// fsync, once in some hundreds.
//
// Full disks: what is there must be removable, and a berthd must start. So the log's blocks are
// allocated beforehand and kept, and its index is in memory, not in a mapped file, which a full
// disk cannot make, and where a write that finds no room (btrfs) is SIGBUS. A transaction that
// gives room back and finds none is run once more with the disk's reserve. The file is therefore
// locked for other processes while it is open (locking_mode=EXCLUSIVE): look at a copy of
// berth.db-wal and berth.db, taken in this order.
//
// Threads: thread-safe; one statement or transaction at a time, by an internal mutex that a
// Transaction holds until its end. Errors: kResourceExhausted: disk full; kDataLoss: the file is
// damaged; kFailedPrecondition: made by a newer berth.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/base/work_queue.h"

struct sqlite3;
struct sqlite3_stmt;

namespace berth::store {

class DiskReserve;

// One prepared statement; positions count from 1 for Bind and from 0 for columns, as SQLite has
// them.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  Statement& Bind(int position, int64_t value);
  Statement& Bind(int position, std::string_view text);
  Statement& BindBlob(int position, std::string_view bytes);
  // True: a row is there. False: done. After false the statement can be bound and stepped again.
  absl::StatusOr<bool> Step();
  // Steps to the end, ignoring rows.
  absl::Status Run();
  int64_t Int(int column) const;
  std::string Text(int column) const;  // text or blob

 private:
  friend class Database;
  Statement(sqlite3* db, sqlite3_stmt* stmt) : db_(db), stmt_(stmt) {}
  sqlite3* db_;
  sqlite3_stmt* stmt_;
};

enum class Durability { kCrash, kDisk };

// What a transaction is for. kGivesRoom: it removes things, or marks what is there already, or a
// start needs it: when the disk is full `work` is run once more, from its beginning, with the
// disk's reserve (DiskReserve).
enum class Purpose { kTakesRoom, kGivesRoom };

class Database {
 public:
  // Opens or makes the file and brings its schema up to date. `reserve`: of its disk; null: none.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path,
                                                        DiskReserve* reserve = nullptr);
  // Opens an existing one that is not to be changed: every write fails. kFailedPrecondition: its
  // schema is another version's.
  static absl::StatusOr<std::unique_ptr<Database>> OpenReadOnly(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs `work` in one transaction: committed when it returns OK, rolled back otherwise. Not
  // reentrant.
  absl::Status Transact(Durability durability, Purpose purpose,
                        const std::function<absl::Status(Database&)>& work);
  absl::Status Transact(Durability durability, const std::function<absl::Status(Database&)>& work) {
    return Transact(durability, Purpose::kTakesRoom, work);
  }
  // Writes to the disk what was committed before the call. Takes no lock.
  absl::Status Flush();
  // Within Transact's work only.
  absl::StatusOr<Statement> Prepare(std::string_view sql);
  int64_t LastInsertId() const;
  int Changes() const;

 private:
  Database(sqlite3* db, std::string path, DiskReserve* reserve)
      : db_(db), path_(std::move(path)), reserve_(reserve) {}
  absl::Status TransactOnce(const std::function<absl::Status(Database&)>& work);
  absl::Status Exec(const char* sql);
  absl::Status Configure();
  // Gets the log its blocks. Best effort: not every file system can.
  void AllocateLog();
  // Called by SQLite after each commit with the log's length.
  void OnCommit(int log_pages);
  void Checkpoint();

  sqlite3* const db_;
  const std::string path_;
  DiskReserve* const reserve_;
  const char* begin_ = "BEGIN IMMEDIATE";
  base::Mutex mu_;
  std::atomic<bool> checkpoint_pending_ = false;
  base::WorkQueue checkpoints_;
};

// Within lib/store. A connection that changes nothing, nor makes files beside the database: its
// index of the log is in memory, so it also works on a full disk. Nobody else may have the file
// open. Null: no memory; an error is the connection's.
sqlite3* OpenForReading(const std::string& path);

// lib/store/schema.cc: brings the tables from `version` to the newest; returns the statements to
// run, in order.
extern const int kSchemaVersion;
const char* SchemaStep(int from_version);

}  // namespace berth::store
