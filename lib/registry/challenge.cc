#include "lib/registry/challenge.h"

#include <cctype>
#include <utility>

namespace berth::registry {

namespace {

constexpr size_t kMaxChallenges = 16;
constexpr size_t kMaxParams = 16;
constexpr size_t kMaxHeader = 16384;

// RFC 9110 section 5.6.2
bool IsTokenChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool AtEnd() const { return at_ >= text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[at_]; }
  void Next() { ++at_; }
  size_t position() const { return at_; }
  void Rewind(size_t position) { at_ = position; }

  void SkipSpace() {
    while (Peek() == ' ' || Peek() == '\t') {
      Next();
    }
  }
  void SkipSpaceAndCommas() {
    while (Peek() == ' ' || Peek() == '\t' || Peek() == ',') {
      Next();
    }
  }
  std::string Token() {
    std::string result;
    while (!AtEnd() && IsTokenChar(Peek())) {
      result += Peek();
      Next();
    }
    return result;
  }
  std::string LowerToken() {
    std::string result = Token();
    for (char& c : result) {
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return result;
  }
  // A token or a quoted string. Values of unquoted realms have been seen with ':' and '/', so
  // everything up to a comma or space is taken. False: an open quote.
  bool Value(std::string& out) {
    out.clear();
    if (Peek() != '"') {
      while (!AtEnd() && Peek() != ',' && Peek() != ' ' && Peek() != '\t') {
        out += Peek();
        Next();
      }
      return true;
    }
    Next();
    while (!AtEnd() && Peek() != '"') {
      if (Peek() == '\\') {
        Next();
      }
      if (!AtEnd()) {
        out += Peek();
        Next();
      }
    }
    if (AtEnd()) {
      return false;
    }
    Next();
    return true;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

// name = value. Rewinds when what follows is not a parameter but the next scheme.
bool ScanParam(Scanner& scanner, Challenge& challenge) {
  const size_t start = scanner.position();
  const std::string name = scanner.LowerToken();
  scanner.SkipSpace();
  std::string value;
  if (name.empty() || scanner.Peek() != '=') {
    scanner.Rewind(start);
    return false;
  }
  scanner.Next();
  scanner.SkipSpace();
  if (!scanner.Value(value)) {
    return false;
  }
  if (challenge.params.size() < kMaxParams) {
    challenge.params.emplace(name, std::move(value));  // the first of a name counts
  }
  return true;
}

}  // namespace

std::string Challenge::Param(const std::string& name) const {
  const auto it = params.find(name);
  return it == params.end() ? "" : it->second;
}

std::vector<Challenge> ParseChallenges(std::string_view header) {
  std::vector<Challenge> result;
  Scanner scanner(header.substr(0, kMaxHeader));
  scanner.SkipSpaceAndCommas();
  while (!scanner.AtEnd() && result.size() < kMaxChallenges) {
    Challenge challenge;
    challenge.scheme = scanner.LowerToken();
    if (challenge.scheme.empty()) {
      break;
    }
    scanner.SkipSpaceAndCommas();
    while (ScanParam(scanner, challenge)) {
      scanner.SkipSpaceAndCommas();
    }
    result.push_back(std::move(challenge));
  }
  return result;
}

}  // namespace berth::registry
