// Compares the compiled CRI descriptors with tests/data/cri-v1.tsv, a table of the whole interface
// made from Kubernetes cri-api v0.37. Both sides are turned into lines of one form, so each test is
// a comparison of two sets: what the table has and we lack, and what we have and the table lacks.
//
// Not compared: the option debug_redact. protobuf 3.21's FieldOptions does not know it, so
// api.proto cannot declare it.
#include "google/protobuf/descriptor.h"

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"

#include "runtime/v1/api.pb.h"

namespace berth::proto {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

constexpr char kRedact[] = "debug_redact = true";

using Lines = std::set<std::string>;

std::vector<std::string> SplitColumns(const std::string& line) {
  std::vector<std::string> columns;
  std::istringstream in(line);
  for (std::string column; std::getline(in, column, '\t');) {
    columns.push_back(column);
  }
  columns.resize(6);
  return columns;
}

std::string Join(const std::vector<std::string>& columns) {
  std::string line;
  for (const std::string& column : columns) {
    line += line.empty() ? column : "|" + column;
  }
  return line;
}

// The table's rows of one kind.
Lines Expected(const std::string& kind) {
  std::ifstream in(BERTH_CRI_TABLE);
  Lines lines;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') {
      continue;
    }
    std::vector<std::string> columns = SplitColumns(line);
    if (columns[0] != kind) {
      continue;
    }
    if (columns[5] == kRedact) {
      columns[5].clear();
    }
    lines.insert(Join(columns));
  }
  return lines;
}

const FileDescriptor& File() { return *runtime::v1::VersionRequest::descriptor()->file(); }

// A name without its package; a nested type keeps its outer message unless it is named from inside
// that.
std::string TypeName(const std::string& full_name, const Descriptor* from) {
  const std::string inside = from == nullptr ? "" : from->full_name() + ".";
  if (!inside.empty() && full_name.rfind(inside, 0) == 0) {
    return full_name.substr(inside.size());
  }
  const std::string package = File().package() + ".";
  return full_name.rfind(package, 0) == 0 ? full_name.substr(package.size()) : full_name;
}

std::string FieldType(const FieldDescriptor& field) {
  const Descriptor* owner = field.containing_type();
  if (field.is_map()) {
    const Descriptor* entry = field.message_type();
    return "map<" + FieldType(*entry->map_key()) + "," + FieldType(*entry->map_value()) + ">";
  }
  std::string type = field.type_name();
  if (field.message_type() != nullptr) {
    type = TypeName(field.message_type()->full_name(), owner);
  } else if (field.enum_type() != nullptr) {
    type = TypeName(field.enum_type()->full_name(), owner);
  }
  return (field.is_repeated() ? "repeated " : "") + type;
}

std::vector<const Descriptor*> Messages() {
  std::vector<const Descriptor*> messages;
  for (int i = 0; i < File().message_type_count(); ++i) {
    messages.push_back(File().message_type(i));
    for (int j = 0; j < File().message_type(i)->nested_type_count(); ++j) {
      const Descriptor* nested = File().message_type(i)->nested_type(j);
      if (!nested->options().map_entry()) {
        messages.push_back(nested);
      }
    }
  }
  return messages;
}

std::vector<const EnumDescriptor*> Enums() {
  std::vector<const EnumDescriptor*> enums;
  for (int i = 0; i < File().enum_type_count(); ++i) {
    enums.push_back(File().enum_type(i));
  }
  for (const Descriptor* message : Messages()) {
    for (int i = 0; i < message->enum_type_count(); ++i) {
      enums.push_back(message->enum_type(i));
    }
  }
  return enums;
}

Lines Compiled(const std::string& kind) {
  Lines lines;
  const auto add = [&](std::vector<std::string> columns) {
    columns.insert(columns.begin(), kind);
    columns.resize(6);
    lines.insert(Join(columns));
  };
  for (const Descriptor* message : Messages()) {
    const std::string name = TypeName(message->full_name(), nullptr);
    if (kind == "message") {
      add({name});
    }
    for (int i = 0; kind == "field" && i < message->field_count(); ++i) {
      const FieldDescriptor& field = *message->field(i);
      add({name, field.name(), std::to_string(field.number()), FieldType(field),
           field.options().deprecated() ? "deprecated = true" : ""});
    }
  }
  for (const EnumDescriptor* type : Enums()) {
    const std::string name = TypeName(type->full_name(), nullptr);
    if (kind == "enum") {
      add({name});
    }
    for (int i = 0; kind == "value" && i < type->value_count(); ++i) {
      add({name, type->value(i)->name(), std::to_string(type->value(i)->number())});
    }
  }
  for (int i = 0; i < File().service_count(); ++i) {
    const ServiceDescriptor& service = *File().service(i);
    if (kind == "service") {
      add({service.name()});
    }
    for (int j = 0; kind == "rpc" && j < service.method_count(); ++j) {
      const MethodDescriptor& method = *service.method(j);
      const auto side = [](bool streaming, const Descriptor* type) {
        return (streaming ? "stream " : "") + TypeName(type->full_name(), nullptr);
      };
      add({service.name(), method.name(), "", side(method.client_streaming(), method.input_type()),
           side(method.server_streaming(), method.output_type())});
    }
  }
  return lines;
}

class DescriptorTest : public testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(DescriptorTest, EqualsTheTable) {
  const auto [kind, count] = GetParam();
  const Lines expected = Expected(kind);
  EXPECT_EQ(expected.size(), count) << "the table itself is not whole";
  const Lines compiled = Compiled(kind);
  for (const std::string& line : expected) {
    EXPECT_TRUE(compiled.contains(line)) << "the table has, api.proto lacks: " << line;
  }
  for (const std::string& line : compiled) {
    EXPECT_TRUE(expected.contains(line)) << "api.proto has, the table lacks: " << line;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DescriptorTest,
    testing::Values(std::pair("service", size_t{2}), std::pair("rpc", size_t{43}),
                    std::pair("message", size_t{175}), std::pair("field", size_t{478}),
                    std::pair("enum", size_t{11}), std::pair("value", size_t{95})),
    [](const auto& param_info) { return std::string(param_info.param.first); });

TEST(DescriptorFile, IsProto3OfPackageRuntimeV1) {
  EXPECT_EQ(File().package(), "runtime.v1");
  EXPECT_EQ(File().syntax(), FileDescriptor::SYNTAX_PROTO3);
}

// A repeated number on the wire is packed, as proto3 has it by default; optional fields with
// presence do not occur.
TEST(DescriptorFile, HasNoOneofsAndNoFieldPresence) {
  for (const Descriptor* message : Messages()) {
    EXPECT_EQ(message->oneof_decl_count(), 0) << message->full_name();
    for (int i = 0; i < message->field_count(); ++i) {
      const FieldDescriptor& field = *message->field(i);
      EXPECT_EQ(field.has_presence(), field.message_type() != nullptr && !field.is_repeated())
          << field.full_name();
      EXPECT_FALSE(field.options().has_packed()) << field.full_name();
    }
  }
}

TEST(DescriptorFile, KnowsNoRedactOption) {
  // When a newer protobuf brings the option, declare it in api.proto and compare it above.
  EXPECT_EQ(google::protobuf::FieldOptions::descriptor()->FindFieldByName("debug_redact"), nullptr);
}

}  // namespace
}  // namespace berth::proto
