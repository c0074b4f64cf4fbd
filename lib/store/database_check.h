// Looking at the database's file as a file: is it whole, and what can be saved of it when it is
// not. Threads: free functions; blocking. Source: SQLite's PRAGMA integrity_check.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/store/database.h"

namespace berth::store {

// What is wrong with the file, in SQLite's words; empty: nothing. It is opened for reading alone;
// nobody may have it open (Database locks it). kNotFound: no such file.
absl::StatusOr<std::vector<std::string>> InspectDatabase(const std::string& path);
// Of one that is open. Others' transactions wait, some milliseconds for each megabyte.
absl::StatusOr<std::vector<std::string>> InspectDatabase(Database& database);

struct Salvaged {
  int rows = 0;         // that are in the new file
  std::string kept_as;  // the damaged file
};
// Makes a new database of all rows that can be read of a damaged one, and keeps that beside it.
// Rows that refer to lost ones are left out. Nobody may have it open.
absl::StatusOr<Salvaged> SalvageDatabase(const std::string& path);

}  // namespace berth::store
