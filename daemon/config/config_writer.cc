// ToToml: writes the keys in the order of config_fields.h.
#include <fmt/format.h>

#include "daemon/config/config.h"
#include "daemon/config/config_fields.h"

namespace berth::config {
namespace {

// A basic string (toml.io v1.0.0, "String").
std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

class Writer {
 public:
  explicit Writer(std::string& out, std::string prefix = "")
      : out_(out), prefix_(std::move(prefix)) {}

  void Text(const char* key, const std::string& field, const Rule&) { Line(key, Quoted(field)); }

  void Texts(const char* key, const std::vector<std::string>& field, const Rule&) {
    std::string list;
    for (const std::string& text : field) {
      list += (list.empty() ? "" : ", ") + Quoted(text);
    }
    Line(key, "[" + list + "]");
  }

  void Number(const char* key, int field, int, int) { Line(key, std::to_string(field)); }
  void Flag(const char* key, bool field) { Line(key, field ? "true" : "false"); }

  void Time(const char* key, absl::Duration field) {
    // FormatDuration writes zero as "0", which reads as if it were a count.
    Line(key, Quoted(field == absl::ZeroDuration() ? "0s" : absl::FormatDuration(field)));
  }

  template <typename Fields>
  void Section(const std::string& key, const Fields& fields) {
    out_ += fmt::format("\n[{}{}]\n", prefix_, key);
    Writer section(out_, prefix_ + key + ".");
    fields(section);
  }

  template <typename T, typename Fields>
  void Table(const char* key, const std::map<std::string, T>& entries, const Rule&,
             const Fields& fields) {
    Writer table(out_, prefix_ + key + ".");
    for (const auto& [name, entry] : entries) {
      table.Section(name, [&, &entry = entry](Writer& section) { fields(section, entry); });
    }
  }

 private:
  void Line(const char* key, const std::string& value) {
    out_ += fmt::format("{} = {}\n", key, value);
  }

  std::string& out_;
  const std::string prefix_;
};

}  // namespace

std::string ToToml(const Config& config) {
  std::string out;
  Writer writer(out);
  VisitConfig(writer, config);
  return out;
}

}  // namespace berth::config
