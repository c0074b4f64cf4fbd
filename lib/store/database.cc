#include "lib/store/database.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "fmt/format.h"
#include <sqlite3.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::store {

namespace {

// Length of the log at which it is folded in; 4 MB of pages.
constexpr int kCheckpointPages = 1000;

absl::Status SqliteStatus(sqlite3* db, std::string_view what) {
  const int code = sqlite3_errcode(db);
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
    case SQLITE_READONLY:
      status = absl::StatusCode::kUnavailable;
      break;
    default:
      break;
  }
  return base::MakeStatus(status, fmt::format("{}: {} (SQLite {})", what, sqlite3_errmsg(db),
                                              sqlite3_extended_errcode(db)));
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

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
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
  std::unique_ptr<Database> database(new Database(db, path));
  RETURN_IF_ERROR(base::Annotate(database->Configure(), fmt::format("open database '{}'", path)));
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
  sqlite3* db = nullptr;
  if (sqlite3_open_v2(path_.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr) ==
      SQLITE_OK) {
    // PASSIVE: whoever is in a transaction is not waited for; the next commit asks again.
    if (sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr) !=
        SQLITE_OK) {
      base::Log("store").warn(
          "the database's log could not be folded in and grows until it can error=\"{}\"",
          sqlite3_errmsg(db));
    }
  }
  sqlite3_close(db);
  checkpoint_pending_ = false;
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
  RETURN_IF_ERROR(
      Exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;"
           "PRAGMA cache_size=-512; PRAGMA journal_size_limit=1048576;"));
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

absl::Status Database::Transact(Durability durability,
                                const std::function<absl::Status(Database&)>& work) {
  {
    base::MutexLock lock(mu_);
    RETURN_IF_ERROR(Exec("BEGIN IMMEDIATE"));
    absl::Status status = work(*this);
    if (status.ok()) {
      status = Exec("COMMIT");
    }
    if (!status.ok()) {
      Exec("ROLLBACK").IgnoreError();  // a failed COMMIT may have rolled back already
      return status;
    }
  }
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
