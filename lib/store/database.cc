#include "lib/store/database.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fmt/format.h"
#include <sqlite3.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/store/disk_reserve.h"

namespace berth::store {

namespace {

// Length of the log at which it is folded in; 4 MB of pages.
constexpr int kCheckpointPages = 1000;
// What the log has on the disk at any time: the 4 MB above, and as much for what is done while it
// cannot be folded in, because the database has no room to grow.
constexpr off_t kLogBytes = 8 << 20;
// The database grows by this much at a time, so that it seldom has to when the disk is full.
constexpr int kGrowBytes = 1 << 20;

// What the system said to the last failed call on the database's file or its log; 0: nothing.
// sqlite3_system_errno() does not know it any more after a rollback.
int LastErrno(sqlite3* db) {
  int error = 0;
  sqlite3_file* log = nullptr;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK &&
      log != nullptr && log->pMethods != nullptr) {
    log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
  }
  if (error == 0) {
    sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &error);
  }
  return error;
}

absl::Status SqliteStatus(sqlite3* db, std::string_view what) {
  const int code = sqlite3_errcode(db);
  int error = 0;
  absl::StatusCode status = absl::StatusCode::kInternal;
  switch (code & 0xff) {
    case SQLITE_FULL:
      status = absl::StatusCode::kResourceExhausted;
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      status = absl::StatusCode::kDataLoss;
      break;
    case SQLITE_CONSTRAINT:
      status = absl::StatusCode::kAlreadyExists;
      break;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      error = LastErrno(db);
      [[fallthrough]];
    case SQLITE_READONLY:
      // Only ENOSPC of a write is SQLITE_FULL to SQLite.
      status = error == EDQUOT || error == ENOSPC ? absl::StatusCode::kResourceExhausted
                                                  : absl::StatusCode::kUnavailable;
      break;
    default:
      break;
  }
  const char* file = sqlite3_db_filename(db, "main");
  const std::string message =
      fmt::format("{}: {} (SQLite {}, '{}')", what, sqlite3_errmsg(db),
                  sqlite3_extended_errcode(db), file == nullptr ? "" : file);
  return base::MakeStatus(
      status, error == 0 ? message : fmt::format("{}: {} ({})", message, strerror(error), error));
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_), stmt_(std::exchange(other.stmt_, nullptr)) {}
Statement::~Statement() { sqlite3_finalize(stmt_); }

Statement& Statement::Bind(int position, int64_t value) {
  sqlite3_bind_int64(stmt_, position, value);
  return *this;
}

Statement& Statement::Bind(int position, std::string_view text) {
  sqlite3_bind_text64(stmt_, position, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::BindBlob(int position, std::string_view bytes) {
  sqlite3_bind_blob64(stmt_, position, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  const int code = sqlite3_step(stmt_);
  if (code == SQLITE_ROW) {
    return true;
  }
  absl::Status status;
  if (code != SQLITE_DONE) {
    status = SqliteStatus(db_, "run database statement");
  }
  sqlite3_reset(stmt_);
  if (!status.ok()) {
    return status;
  }
  return false;
}

absl::Status Statement::Run() {
  while (true) {
    ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) {
      return absl::OkStatus();
    }
  }
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(stmt_, column); }

std::string Statement::Text(int column) const {
  const void* data = sqlite3_column_blob(stmt_, column);
  const int size = sqlite3_column_bytes(stmt_, column);
  return data == nullptr ? std::string()
                         : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path,
                                                         DiskReserve* reserve) {
  // Memory is a target: one connection, a small page cache, no shared cache.
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    const absl::Status status = db == nullptr
                                    ? absl::ResourceExhaustedError("open database: no memory")
                                    : SqliteStatus(db, fmt::format("open database '{}'", path));
    sqlite3_close(db);
    return status;
  }
  std::unique_ptr<Database> database(new Database(db, path, reserve));
  RETURN_IF_ERROR(base::Annotate(database->Configure(), fmt::format("open database '{}'", path)));
  return database;
}

sqlite3* OpenForReading(const std::string& path) {
  sqlite3* db = nullptr;
  // SQLite opens a file that cannot be written for reading by itself.
  const int code =
      sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    return db;
  }
  sqlite3_busy_timeout(db, 5000);
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  int keep = 1;
  sqlite3_file_control(db, nullptr, SQLITE_FCNTL_PERSIST_WAL, &keep);
  sqlite3_exec(db, "PRAGMA query_only=ON", nullptr, nullptr, nullptr);
  if (sqlite3_db_readonly(db, "main") == 0) {
    sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", nullptr, nullptr, nullptr);
  }
  return db;
}

absl::StatusOr<std::unique_ptr<Database>> Database::OpenReadOnly(const std::string& path) {
  sqlite3* db = OpenForReading(path);
  std::unique_ptr<Database> database(new Database(db, path, nullptr));
  if (db == nullptr || sqlite3_errcode(db) != SQLITE_OK) {
    return db == nullptr ? absl::ResourceExhaustedError("open database: no memory")
                         : SqliteStatus(db, fmt::format("open database '{}'", path));
  }
  database->begin_ = "BEGIN";
  int64_t version = 0;
  RETURN_IF_ERROR(base::Annotate(
      database->Transact(Durability::kCrash,
                         [&](Database& reader) -> absl::Status {
                           ASSIGN_OR_RETURN(Statement query, reader.Prepare("PRAGMA user_version"));
                           RETURN_IF_ERROR(query.Step().status());
                           version = query.Int(0);
                           return absl::OkStatus();
                         }),
      fmt::format("open database '{}'", path)));
  if (version != kSchemaVersion) {
    return absl::FailedPreconditionError(
        fmt::format("open database '{}': its schema is version {}, this program's {}: start the "
                    "berthd of this version once, or use the program that belongs to it",
                    path, version, kSchemaVersion));
  }
  return database;
}

Database::~Database() {
  checkpoints_.Stop();
  sqlite3_close(db_);
}

void Database::OnCommit(int log_pages) {
  if (log_pages >= kCheckpointPages && !checkpoint_pending_.exchange(true)) {
    checkpoints_.Add([this] { Checkpoint(); });
  }
}

void Database::Checkpoint() {
  Flush().IgnoreError();  // without the lock: the longer part of the writing
  base::MutexLock lock(mu_);
  if (sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr) !=
      SQLITE_OK) {
    base::Log("store").warn(
        "the database's log could not be folded in and grows until it can error=\"{}\"",
        sqlite3_errmsg(db_));
  }
  checkpoint_pending_ = false;
}

void Database::AllocateLog() {
  const auto log = base::OpenFile(path_ + "-wal", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!log.ok()) {
    return;  // SQLite will say more
  }
  // Where files are copied on write, blocks are kept only for a file that is not. Works while the
  // file is empty.
  int flags = 0;
  if (::ioctl(log->get(), FS_IOC_GETFLAGS, &flags) == 0) {
    flags |= FS_NOCOW_FL;
    ::ioctl(log->get(), FS_IOC_SETFLAGS, &flags);
  }
  // Asked for what it has a full disk may refuse all the same.
  struct stat st = {};
  const bool has_room = ::fstat(log->get(), &st) == 0 && st.st_blocks * 512 >= kLogBytes;
  if (!has_room && ::fallocate(log->get(), FALLOC_FL_KEEP_SIZE, 0, kLogBytes) != 0) {
    base::Log("store").warn(
        "no room is kept for the database's log: on a full disk images and pods cannot be removed "
        "error=\"{}\"",
        std::strerror(errno));
  }
}

absl::Status Database::Exec(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteStatus(db_, "run database statement");
  }
  return absl::OkStatus();
}

absl::Status Database::Configure() {
  sqlite3_busy_timeout(db_, 5000);
  sqlite3_wal_hook(
      db_,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<Database*>(self)->OnCommit(pages);
        return SQLITE_OK;
      },
      this);
  AllocateLog();
  int keep = 1;
  sqlite3_file_control(db_, nullptr, SQLITE_FCNTL_PERSIST_WAL, &keep);
  int grow = kGrowBytes;
  sqlite3_file_control(db_, nullptr, SQLITE_FCNTL_CHUNK_SIZE, &grow);
  RETURN_IF_ERROR(
      Exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
           "PRAGMA foreign_keys=ON; PRAGMA cache_size=-512;"));
  int64_t version = 0;
  RETURN_IF_ERROR(Transact(Durability::kCrash, [&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement query, db.Prepare("PRAGMA user_version"));
    RETURN_IF_ERROR(query.Step().status());
    version = query.Int(0);
    return absl::OkStatus();
  }));
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        fmt::format("its schema is version {}, this berthd knows up to {}: use the newer berthd "
                    "that made it, or another root than '{}'",
                    version, kSchemaVersion, path_));
  }
  for (; version < kSchemaVersion; ++version) {
    RETURN_IF_ERROR(Transact(Durability::kDisk, [&](Database& db) -> absl::Status {
      RETURN_IF_ERROR(db.Exec(SchemaStep(static_cast<int>(version))));
      return db.Exec(fmt::format("PRAGMA user_version={}", version + 1).c_str());
    }));
  }
  return absl::OkStatus();
}

absl::Status Database::TransactOnce(const std::function<absl::Status(Database&)>& work) {
  base::MutexLock lock(mu_);
  RETURN_IF_ERROR(Exec(begin_));
  absl::Status status = work(*this);
  if (status.ok()) {
    status = Exec("COMMIT");
  }
  if (!status.ok()) {
    Exec("ROLLBACK").IgnoreError();  // a failed COMMIT may have rolled back already
  }
  return status;
}

absl::Status Database::Transact(Durability durability, Purpose purpose,
                                const std::function<absl::Status(Database&)>& work) {
  absl::Status status = TransactOnce(work);
  if (absl::IsResourceExhausted(status) && purpose == Purpose::kGivesRoom && reserve_ != nullptr) {
    reserve_->Lend([&] { status = TransactOnce(work); });
  }
  RETURN_IF_ERROR(status);
  return durability == Durability::kDisk ? Flush() : absl::OkStatus();
}

// A commit has written its pages to the log; what a checkpoint has taken out of the log since then
// it has synced itself. SQLite's locks are on other files, so closing this one frees none.
absl::Status Database::Flush() {
  const std::string log = path_ + "-wal";
  ASSIGN_OR_RETURN(const base::UniqueFd fd, base::OpenFile(log, O_RDONLY));
  return ::fsync(fd.get()) == 0 ? absl::OkStatus()
                                : base::ErrnoStatus(errno, fmt::format("sync '{}'", log));
}

absl::StatusOr<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* stmt = nullptr;
  if (sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &stmt, nullptr) !=
      SQLITE_OK) {
    return SqliteStatus(db_, "prepare database statement");
  }
  return Statement(db_, stmt);
}

int64_t Database::LastInsertId() const { return sqlite3_last_insert_rowid(db_); }
int Database::Changes() const { return sqlite3_changes(db_); }

}  // namespace berth::store
