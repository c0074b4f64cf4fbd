#include "lib/oci/yaml.h"

#include <yaml.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::oci {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 32;

absl::Status Invalid(const std::string& what, const yaml_mark_t& mark) {
  return absl::InvalidArgumentError(fmt::format("line {}: {}", mark.line + 1, what));
}

// The sign, the base by its prefix, and nothing else.
std::optional<int64_t> ToInteger(const std::string& text) {
  const bool is_negative = text[0] == '-';
  std::string digits = text.substr(is_negative || text[0] == '+' ? 1 : 0);
  int base = 10;
  if (digits.rfind("0x", 0) == 0) {
    base = 16;
    digits.erase(0, 2);
  } else if (digits.rfind("0o", 0) == 0) {
    base = 8;
    digits.erase(0, 2);
  } else if (digits.size() > 1 && digits[0] == '0') {
    base = 8;
  }
  if (digits.empty() || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
    return std::nullopt;
  }
  char* end = nullptr;
  errno = 0;
  const int64_t value = std::strtoll(digits.c_str(), &end, base);
  if (errno != 0 || *end != '\0') {
    return std::nullopt;
  }
  return is_negative ? -value : value;
}

absl::Status TooDeep() {
  return absl::OutOfRangeError(fmt::format("the YAML nests deeper than {} levels", kMaxDepth));
}
absl::Status TooMany() {
  return absl::OutOfRangeError(
      fmt::format("the YAML stands for more than {} values", kMaxYamlNodes));
}

class Converter {
 public:
  Converter(yaml_document_t& document, const std::function<bool(std::string_view)>& is_typed)
      : document_(document), is_typed_(is_typed) {}

  // `typed`: the node is, or is in, the value of a key that is_typed names.
  absl::StatusOr<Json> Convert(const yaml_node_t& node, bool typed, int depth) {
    if (depth > kMaxDepth) {
      return TooDeep();
    }
    if (++nodes_ > kMaxYamlNodes) {
      return TooMany();
    }
    switch (node.type) {
      case YAML_SCALAR_NODE:
        return Scalar(node, typed);
      case YAML_SEQUENCE_NODE:
        return Sequence(node, typed, depth);
      case YAML_MAPPING_NODE:
        return Mapping(node, depth);
      default:
        return Json();
    }
  }

 private:
  static std::string Text(const yaml_node_t& node) {
    return std::string(reinterpret_cast<const char*>(node.data.scalar.value),
                       node.data.scalar.length);
  }

  static Json Scalar(const yaml_node_t& node, bool typed) {
    std::string text = Text(node);
    if (node.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
      return text;
    }
    if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
      return Json();
    }
    if (typed && (text == "true" || text == "True" || text == "TRUE")) {
      return true;
    }
    if (typed && (text == "false" || text == "False" || text == "FALSE")) {
      return false;
    }
    if (const std::optional<int64_t> number = typed ? ToInteger(text) : std::nullopt) {
      return *number;
    }
    return text;
  }

  absl::StatusOr<Json> Sequence(const yaml_node_t& node, bool typed, int depth) {
    Json list = Json::array();
    for (const yaml_node_item_t* item = node.data.sequence.items.start;
         item < node.data.sequence.items.top; ++item) {
      ASSIGN_OR_RETURN(Json value,
                       Convert(*yaml_document_get_node(&document_, *item), typed, depth + 1));
      list.push_back(std::move(value));
    }
    return list;
  }

  absl::StatusOr<Json> Mapping(const yaml_node_t& node, int depth) {
    Json object = Json::object();
    for (const yaml_node_pair_t* pair = node.data.mapping.pairs.start;
         pair < node.data.mapping.pairs.top; ++pair) {
      const yaml_node_t& key = *yaml_document_get_node(&document_, pair->key);
      if (key.type != YAML_SCALAR_NODE) {
        return Invalid("a key is no text", key.start_mark);
      }
      const std::string name = Text(key);
      if (object.contains(name)) {
        return Invalid(fmt::format("the key '{}' is there twice", name), key.start_mark);
      }
      ASSIGN_OR_RETURN(object[name], Convert(*yaml_document_get_node(&document_, pair->value),
                                             is_typed_(name), depth + 1));
    }
    return object;
  }

  yaml_document_t& document_;
  const std::function<bool(std::string_view)>& is_typed_;
  size_t nodes_ = 0;
};

// libyaml's parser over a text.
class Parser {
 public:
  explicit Parser(std::string_view text) {
    BERTH_CHECK(yaml_parser_initialize(&parser_) != 0);         // memory
    const char* const begin = text.empty() ? "" : text.data();  // libyaml takes no null
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(begin),
                                 text.size());
  }
  ~Parser() { yaml_parser_delete(&parser_); }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;

  yaml_parser_t* get() { return &parser_; }
  absl::Status SyntaxError() const {
    return Invalid(fmt::format("not YAML: {}", parser_.problem == nullptr ? "?" : parser_.problem),
                   parser_.problem_mark);
  }

 private:
  yaml_parser_t parser_;
};

// Before a document is made of it: libyaml takes time in proportion to the square of the depth, and
// some hundred bytes of memory for a value of one.
absl::Status CheckLimits(std::string_view text) {
  Parser parser(text);
  int depth = 0;
  size_t nodes = 0;
  while (true) {
    yaml_event_t event;
    if (yaml_parser_parse(parser.get(), &event) == 0) {
      return parser.SyntaxError();
    }
    const yaml_event_type_t type = event.type;
    yaml_event_delete(&event);
    const bool opens = type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
    const bool closes = type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT;
    depth += opens ? 1 : closes ? -1 : 0;
    if (depth > kMaxDepth + 1) {
      return TooDeep();
    }
    nodes += opens || type == YAML_SCALAR_EVENT || type == YAML_ALIAS_EVENT ? 1 : 0;
    if (nodes > 2 * kMaxYamlNodes) {  // keys are none of the values that are counted later
      return TooMany();
    }
    if (type == YAML_STREAM_END_EVENT) {
      return absl::OkStatus();
    }
  }
}

}  // namespace

absl::StatusOr<Json> YamlToJson(std::string_view text,
                                const std::function<bool(std::string_view)>& is_typed) {
  RETURN_IF_ERROR(CheckLimits(text));
  Parser parser(text);
  yaml_document_t document;
  if (yaml_parser_load(parser.get(), &document) == 0) {
    return parser.SyntaxError();
  }
  const absl::Cleanup delete_document = [&] { yaml_document_delete(&document); };
  const yaml_node_t* root = yaml_document_get_root_node(&document);
  if (root == nullptr) {
    return absl::InvalidArgumentError("the YAML is empty");
  }
  yaml_document_t next;
  if (yaml_parser_load(parser.get(), &next) == 0) {
    return parser.SyntaxError();
  }
  const absl::Cleanup delete_next = [&] { yaml_document_delete(&next); };
  if (yaml_document_get_root_node(&next) != nullptr) {
    return absl::InvalidArgumentError("there is more than one YAML document");
  }
  return Converter(document, is_typed).Convert(*root, false, 0);
}

}  // namespace berth::oci
