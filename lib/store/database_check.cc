#include "lib/store/database_check.h"

#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/time/clock.h"
#include "fmt/format.h"
#include <sqlite3.h>

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::store {

namespace {

constexpr size_t kMaxProblems = 50;
constexpr char kIntegrity[] = "PRAGMA integrity_check(50)";
constexpr char kForeignKeys[] = "PRAGMA foreign_key_check";

std::string IntegrityProblem(const std::string& row) { return row == "ok" ? "" : row; }
std::string ForeignKeyProblem(const std::string& table, const std::string& parent) {
  return fmt::format("a row of table '{}' refers to one of '{}' that is not there", table, parent);
}
// Those that others refer to first.
constexpr const char* kTables[] = {"layers",        "images",    "image_layers", "image_names",
                                   "image_digests", "sandboxes", "containers"};

struct Close {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Connection = std::unique_ptr<sqlite3, Close>;
using Query = std::unique_ptr<sqlite3_stmt, Close>;

Connection Connect(const std::string& path, int flags) {
  sqlite3* db = nullptr;
  sqlite3_open_v2(path.c_str(), &db, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  if (db != nullptr) {
    sqlite3_busy_timeout(db, 5000);
  }
  return Connection(db);
}

// Null: it cannot be.
Query Prepare(const Connection& db, const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v2(db.get(), sql.c_str(), -1, &statement, nullptr);
  return Query(statement);
}

std::string TextOf(const Query& query, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(query.get(), column));
  return text == nullptr ? "" : text;
}

// What a call can fail with that says nothing about the file's content.
bool IsOutside(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_CANTOPEN:
    case SQLITE_FULL:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return true;
    default:
      return false;
  }
}

// Runs a pragma whose rows are problems, and adds them. An error: it could not be run.
absl::Status Collect(const Connection& db, const char* pragma,
                     const std::function<std::string(const Query&)>& row,
                     std::vector<std::string>& problems) {
  const Query query = Prepare(db, pragma);
  int code = query == nullptr ? sqlite3_errcode(db.get()) : SQLITE_ROW;
  while (code == SQLITE_ROW && problems.size() < kMaxProblems) {
    code = sqlite3_step(query.get());
    if (code == SQLITE_ROW) {
      if (std::string text = row(query); !text.empty()) {
        problems.push_back(std::move(text));
      }
    }
  }
  if (code == SQLITE_ROW || code == SQLITE_DONE) {
    return absl::OkStatus();
  }
  if (IsOutside(code)) {
    return absl::UnavailableError(sqlite3_errmsg(db.get()));
  }
  problems.push_back(sqlite3_errmsg(db.get()));
  return absl::OkStatus();
}

// Copies the rows of a table that can be read from one of its ends on.
int CopyRows(const Connection& from, const Connection& to, const std::string& table,
             const char* order) {
  const Query rows = Prepare(from, fmt::format("SELECT * FROM {} ORDER BY 1 {}", table, order));
  if (rows == nullptr) {
    return 0;
  }
  std::string names;
  std::string values;
  const int columns = sqlite3_column_count(rows.get());
  for (int i = 0; i < columns; ++i) {
    names += fmt::format("{}{}", i == 0 ? "" : ",", sqlite3_column_name(rows.get(), i));
    values += i == 0 ? "?" : ",?";
  }
  const Query insert =
      Prepare(to, fmt::format("INSERT OR IGNORE INTO {}({}) VALUES({})", table, names, values));
  int copied = 0;
  while (insert != nullptr && sqlite3_step(rows.get()) == SQLITE_ROW) {
    for (int i = 0; i < columns; ++i) {
      sqlite3_bind_value(insert.get(), i + 1, sqlite3_column_value(rows.get(), i));
    }
    if (sqlite3_step(insert.get()) == SQLITE_DONE) {
      copied += sqlite3_changes(to.get());
    }
    sqlite3_reset(insert.get());
  }
  return copied;
}

int Run(const Connection& db, const char* sql) {
  sqlite3_exec(db.get(), sql, nullptr, nullptr, nullptr);
  return sqlite3_changes(db.get());
}

absl::StatusOr<int> CopyTables(const std::string& damaged, const std::string& fresh) {
  const Connection from = Connect(damaged, SQLITE_OPEN_READWRITE);
  const Connection to = Connect(fresh, SQLITE_OPEN_READWRITE);
  if (from == nullptr || to == nullptr) {
    return absl::ResourceExhaustedError("no memory");
  }
  Run(to, "PRAGMA foreign_keys=OFF; BEGIN");
  int rows = 0;
  for (const char* table : kTables) {
    // What lies behind the damage is reached from the other end.
    rows += CopyRows(from, to, table, "ASC") + CopyRows(from, to, table, "DESC");
  }
  for (const char* orphans :
       {"DELETE FROM image_layers WHERE image_id NOT IN (SELECT id FROM images) "
        "OR layer NOT IN (SELECT number FROM layers)",
        "DELETE FROM image_names WHERE image_id NOT IN (SELECT id FROM images)",
        "DELETE FROM image_digests WHERE image_id NOT IN (SELECT id FROM images)"}) {
    rows -= Run(to, orphans);
  }
  if (const Query sequence = Prepare(from, "SELECT seq FROM sqlite_sequence WHERE name = 'layers'");
      sequence != nullptr && sqlite3_step(sequence.get()) == SQLITE_ROW) {
    Run(to, fmt::format("UPDATE sqlite_sequence SET seq = max(seq, {}) WHERE name = 'layers'",
                        sqlite3_column_int64(sequence.get(), 0))
                .c_str());
  }
  if (sqlite3_exec(to.get(), "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) {
    return absl::UnavailableError(fmt::format("write '{}': {}", fresh, sqlite3_errmsg(to.get())));
  }
  return rows;
}

absl::Status Rename(const std::string& from, const std::string& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 || errno == ENOENT
             ? absl::OkStatus()
             : base::ErrnoStatus(errno, fmt::format("rename '{}'", from));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> InspectDatabase(const std::string& path) {
  if (!base::PathExists(path)) {
    return absl::NotFoundError(fmt::format("there is no database '{}'", path));
  }
  const Connection db(OpenForReading(path));
  if (db == nullptr) {
    return absl::ResourceExhaustedError("open database: no memory");
  }
  std::vector<std::string> problems;
  absl::Status status = Collect(
      db, kIntegrity, [](const Query& row) { return IntegrityProblem(TextOf(row, 0)); }, problems);
  if (status.ok() && problems.empty()) {
    status = Collect(
        db, kForeignKeys,
        [](const Query& row) { return ForeignKeyProblem(TextOf(row, 0), TextOf(row, 2)); },
        problems);
  }
  RETURN_IF_ERROR(base::Annotate(status, fmt::format("read database '{}'", path)));
  return problems;
}

absl::StatusOr<std::vector<std::string>> InspectDatabase(Database& database) {
  std::vector<std::string> problems;
  const auto collect = [&](Database& db, const char* pragma, const auto& problem_of) {
    absl::StatusOr<Statement> query = db.Prepare(pragma);
    absl::StatusOr<bool> row = query.ok() ? query->Step() : query.status();
    for (; row.ok() && *row && problems.size() < kMaxProblems; row = query->Step()) {
      if (std::string text = problem_of(*query); !text.empty()) {
        problems.push_back(std::move(text));
      }
    }
    if (!row.ok()) {
      problems.emplace_back(row.status().message());
    }
  };
  RETURN_IF_ERROR(database.Transact(Durability::kCrash, [&](Database& db) {
    collect(db, kIntegrity, [](const Statement& row) { return IntegrityProblem(row.Text(0)); });
    if (problems.empty()) {
      collect(db, kForeignKeys,
              [](const Statement& row) { return ForeignKeyProblem(row.Text(0), row.Text(2)); });
    }
    return absl::OkStatus();
  }));
  return problems;
}

absl::StatusOr<Salvaged> SalvageDatabase(const std::string& path) {
  const std::string fresh = path + ".new";
  Salvaged salvaged;
  salvaged.kept_as = fmt::format("{}.damaged-{}", path, absl::ToUnixSeconds(absl::Now()));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    RETURN_IF_ERROR(base::RemoveFile(fresh + suffix));
  }
  RETURN_IF_ERROR(Database::Open(fresh).status());
  ASSIGN_OR_RETURN(salvaged.rows, CopyTables(path, fresh));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    RETURN_IF_ERROR(Rename(path + suffix, salvaged.kept_as + suffix));
  }
  RETURN_IF_ERROR(Rename(fresh, path));
  RETURN_IF_ERROR(Rename(fresh + "-wal", path + "-wal"));
  return salvaged;
}

}  // namespace berth::store
