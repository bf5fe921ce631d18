#include "util/json_text.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kvp {
namespace {

// Files in use have about ten levels.
constexpr int kMaxNesting = 1000;

// Whether brackets are nested deeper than that; text that is no JSON may give either.
bool IsNestedTooDeeply(absl::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxNesting) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

template <typename Json>
absl::StatusOr<Json> Parse(absl::string_view text, absl::string_view path) {
  if (IsNestedTooDeeply(text)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is nested too deeply"));
  }
  // Only the exception tells the place.
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is not valid JSON at byte ", error.byte));
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has a number out of range"));
  }
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view path) {
  return Parse<nlohmann::json>(text, path);
}

absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(absl::string_view text,
                                                        absl::string_view path) {
  return Parse<nlohmann::ordered_json>(text, path);
}

std::string Excerpt(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), "…");
}

}  // namespace kvp
