#include "lib/spec/testing/json_diff.h"

#include <algorithm>
#include <string>
#include <vector>

namespace berth::spec {
namespace {

using Json = nlohmann::json;
using Pointer = Json::json_pointer;

// A list of words of which more changed is easier to read as a whole.
constexpr size_t kMaxOperationsOnText = 2;

class Differ {
 public:
  void Compare(const Pointer& at, const Json& from, const Json& to) {
    if (from == to) {
      return;
    }
    if (from.is_object() && to.is_object()) {
      CompareObjects(at, from, to);
    } else if (from.is_array() && to.is_array()) {
      CompareArrays(at, from, to);
    } else {
      Replace(at, from, to);
    }
  }

  Json patch = Json::array();

 private:
  void Add(const Pointer& at, const Json& value) {
    patch.push_back({{"op", "add"}, {"path", at.to_string()}, {"value", value}});
  }
  void Remove(const Pointer& at, const Json& was) {
    patch.push_back({{"op", "remove"}, {"path", at.to_string()}, {"was", was}});
  }
  void Replace(const Pointer& at, const Json& was, const Json& value) {
    patch.push_back({{"op", "replace"}, {"path", at.to_string()}, {"value", value}, {"was", was}});
  }

  void CompareObjects(const Pointer& at, const Json& from, const Json& to) {
    for (const auto& [key, value] : from.items()) {
      if (to.contains(key)) {
        Compare(at / key, value, to[key]);
      } else {
        Remove(at / key, value);
      }
    }
    for (const auto& [key, value] : to.items()) {
      if (!from.contains(key)) {
        Add(at / key, value);
      }
    }
  }

  void CompareArrays(const Pointer& at, const Json& from, const Json& to) {
    const size_t before = patch.size();
    CompareElements(at, from, to);
    const auto is_text = [](const Json& element) { return element.is_string(); };
    if (patch.size() - before > kMaxOperationsOnText &&
        std::all_of(from.begin(), from.end(), is_text) &&
        std::all_of(to.begin(), to.end(), is_text)) {
      patch.erase(patch.begin() + static_cast<Json::difference_type>(before), patch.end());
      Replace(at, from, to);
    }
  }

  void CompareElements(const Pointer& at, const Json& from, const Json& to) {
    // length[i][j]: of the longest common sequence of the first i and the first j elements.
    std::vector<std::vector<size_t>> length(from.size() + 1, std::vector<size_t>(to.size() + 1, 0));
    for (size_t i = 1; i <= from.size(); ++i) {
      for (size_t j = 1; j <= to.size(); ++j) {
        length[i][j] = from[i - 1] == to[j - 1] ? length[i - 1][j - 1] + 1
                                                : std::max(length[i - 1][j], length[i][j - 1]);
      }
    }
    size_t i = from.size();
    size_t j = to.size();
    while (i > 0 || j > 0) {
      if (i > 0 && j > 0 && from[i - 1] == to[j - 1]) {
        --i;
        --j;
        continue;
      }
      const size_t end = i;
      const size_t to_end = j;
      while ((i > 0 || j > 0) && !(i > 0 && j > 0 && from[i - 1] == to[j - 1])) {
        if (j == 0 || (i > 0 && length[i - 1][j] >= length[i][j - 1])) {
          --i;
        } else {
          --j;
        }
      }
      ReplaceRange(at, from, {i, end}, to, {j, to_end});
    }
  }

  struct Range {
    size_t begin, end;
    size_t size() const { return end - begin; }
  };
  void ReplaceRange(const Pointer& at, const Json& from, Range old, const Json& to, Range fresh) {
    const size_t both = std::min(old.size(), fresh.size());
    for (size_t k = old.end; k > old.begin + both; --k) {
      Remove(at / (k - 1), from[k - 1]);
    }
    for (size_t k = 0; k < both; ++k) {
      Replace(at / (old.begin + k), from[old.begin + k], to[fresh.begin + k]);
    }
    for (size_t k = both; k < fresh.size(); ++k) {
      Add(at / (old.begin + k), to[fresh.begin + k]);
    }
  }
};

}  // namespace

Json JsonDiff(const Json& from, const Json& to) {
  Differ differ;
  differ.Compare(Pointer(), from, to);
  return std::move(differ.patch);
}

}  // namespace berth::spec
