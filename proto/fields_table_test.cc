// Compares docs/cri-fields.md with the interface: a row for every field of every message that a
// request may hold, no other row, and in each row tests that are in the tree: `test_x.py::test_y`,
// `x_test.cc::Suite.Name`, several separated by ", ".
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"

#include "runtime/v1/api.pb.h"

namespace berth::proto {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using ::testing::IsEmpty;

struct Row {
  std::string field, what, tests;
};

std::vector<std::string> Split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t from = 0;
  for (size_t at = 0; (at = text.find(separator, from)) != std::string::npos;) {
    parts.push_back(text.substr(from, at - from));
    from = at + separator.size();
  }
  parts.push_back(text.substr(from));
  return parts;
}

std::vector<Row> Rows() {
  std::ifstream in(std::string(BERTH_SOURCE) + "/docs/cri-fields.md");
  std::vector<Row> rows;
  bool is_body = false;
  for (std::string line; std::getline(in, line);) {
    const bool is_row = line.rfind("| ", 0) == 0 && line.size() > 4;
    if (is_row && is_body) {
      const std::vector<std::string> cells = Split(line.substr(2, line.size() - 4), " | ");
      EXPECT_EQ(cells.size(), 3u) << line;
      rows.push_back({cells[0], cells.size() > 1 ? cells[1] : "", cells.back()});
    }
    is_body |= line.rfind("|---", 0) == 0;
  }
  return rows;
}

void Walk(const Descriptor& message, std::set<std::string>& seen, std::set<std::string>& fields) {
  if (!seen.insert(message.full_name()).second) {
    return;
  }
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    fields.insert(message.name() + "." + field.name());
    // What a map holds beside text; its entry is no message that anybody writes.
    const Descriptor* type = field.message_type();
    if (field.is_map()) {
      type = type->field(1)->message_type();
    }
    if (type != nullptr) {
      Walk(*type, seen, fields);
    }
  }
}

std::set<std::string> FieldsOfRequests() {
  const FileDescriptor& file = *runtime::v1::VersionRequest::descriptor()->file();
  std::set<std::string> seen;
  std::set<std::string> fields;
  for (int s = 0; s < file.service_count(); ++s) {
    for (int m = 0; m < file.service(s)->method_count(); ++m) {
      Walk(*file.service(s)->method(m)->input_type(), seen, fields);
    }
  }
  return fields;
}

// The text of every test file of the tree, by file name.
std::map<std::string, std::string> TestFiles() {
  std::map<std::string, std::string> files;
  for (const char* dir : {"lib", "daemon", "cmd", "proto", "tests"}) {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(std::string(BERTH_SOURCE) + "/" + dir)) {
      const std::string name = entry.path().filename();
      const bool is_test = (name.rfind("test_", 0) == 0 && entry.path().extension() == ".py") ||
                           name.find("_test.cc") != std::string::npos;
      if (is_test) {
        std::ostringstream text;
        text << std::ifstream(entry.path()).rdbuf();
        files[name] += text.str();
      }
    }
  }
  return files;
}

bool Has(const std::map<std::string, std::string>& files, const std::string& test) {
  const size_t colons = test.find("::");
  const auto file = files.find(test.substr(0, colons));
  if (colons == std::string::npos || file == files.end()) {
    return false;
  }
  const std::string name = test.substr(colons + 2);
  if (file->first.find(".py") != std::string::npos) {
    return file->second.find("\ndef " + name + "(") != std::string::npos;
  }
  const size_t dot = name.find('.');
  const std::regex declaration("\\nTEST(_F|_P)?\\(" + name.substr(0, dot) + ",\\s*" +
                               (dot == std::string::npos ? "" : name.substr(dot + 1)) + "\\)");
  return std::regex_search(file->second, declaration);
}

TEST(FieldsTableTest, HasARowForEveryField) {
  std::set<std::string> missing = FieldsOfRequests();
  EXPECT_GT(missing.size(), 200u);
  std::vector<std::string> unknown;
  for (const Row& row : Rows()) {
    if (missing.erase(row.field) == 0) {
      unknown.push_back(row.field);  // or its second row
    }
    EXPECT_FALSE(row.what.empty()) << row.field;
  }
  EXPECT_THAT(missing, IsEmpty()) << "fields without a row";
  EXPECT_THAT(unknown, IsEmpty()) << "rows without a field";
}

TEST(FieldsTableTest, NamesTestsThatExist) {
  const std::map<std::string, std::string> files = TestFiles();
  std::set<std::string> absent;
  for (const Row& row : Rows()) {
    for (const std::string& test : Split(row.tests, ", ")) {
      if (!Has(files, test)) {
        absent.insert(row.field + ": " + test);
      }
    }
  }
  EXPECT_THAT(absent, IsEmpty());
}

}  // namespace
}  // namespace berth::proto
