#include "llm/jinja/lexer.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "llm/utf8.h"
#include "util/status_macros.h"

namespace kvp::jinja {
namespace {

using Kind = Token::Kind;

// More than any template's; the tree of an expression gets as deep as it has tokens.
constexpr size_t kMaxTagTokens = 1000;

// Longer ones first.
constexpr absl::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "<",  ">",  "=",  ".", ":", "|",
                                            ",",  "(",  ")",  "[",  "]",  "{",  "}"};

bool IsNameStart(char c) { return absl::ascii_isalpha(c) || c == '_'; }
bool IsNamePart(char c) { return absl::ascii_isalnum(c) || c == '_'; }

class Lexer {
 public:
  explicit Lexer(absl::string_view source)
      : source_(absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}})), rest_(source_) {
    // One line break at the end of a file doesn't count.
    absl::ConsumeSuffix(&rest_, "\n");
  }

  absl::StatusOr<std::vector<Token>> Run() {
    while (!rest_.empty()) RETURN_IF_ERROR(DataThenTag());
    Add(Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", what));
  }

  void Add(Kind kind, absl::string_view text) {
    tokens_.push_back({kind, std::string(text), line_});
  }

  void Skip(size_t bytes) {
    line_ += static_cast<int>(std::count(rest_.begin(), rest_.begin() + bytes, '\n'));
    rest_.remove_prefix(bytes);
  }

  // Text up to the next tag, and the tag.
  absl::Status DataThenTag() {
    size_t begin = 0;
    for (;; ++begin) {
      begin = rest_.find('{', begin);
      if (begin == absl::string_view::npos || begin + 1 >= rest_.size()) {
        Add(Kind::kData, rest_);
        Skip(rest_.size());
        return absl::OkStatus();
      }
      const char second = rest_[begin + 1];
      if (second == '{' || second == '%' || second == '#') break;
    }
    absl::string_view data = rest_.substr(0, begin);
    const char second = rest_[begin + 1];
    const char sign = begin + 2 < rest_.size() ? rest_[begin + 2] : ' ';
    if (sign == '-') {
      data = StripRight(data);
    } else if (sign != '+' && second != '{') {
      data = WithoutIndentation(data);
    }
    if (!data.empty()) Add(Kind::kData, data);
    Skip(begin + 2);
    if (sign == '-' || sign == '+') Skip(1);
    if (second == '#') return Comment();
    return second == '{' ? Tag(Kind::kVariableBegin, Kind::kVariableEnd, "}}")
                         : Tag(Kind::kBlockBegin, Kind::kBlockEnd, "%}");
  }

  // Without the white space of the line that a block begins.
  absl::string_view WithoutIndentation(absl::string_view data) const {
    const size_t line_break = data.rfind('\n');
    if (line_break == absl::string_view::npos && !begins_line_) return data;
    const size_t begin = line_break == absl::string_view::npos ? 0 : line_break + 1;
    return StripLeft(data.substr(begin)).empty() ? data.substr(0, begin) : data;
  }

  // Behind a tag's end: the white space that goes with it.
  void AfterTag(bool takes_space, bool takes_line_break) {
    const size_t before = rest_.size();
    size_t bytes = 0;
    if (takes_space) {
      bytes = before - StripLeft(rest_).size();
    } else if (takes_line_break && absl::StartsWith(rest_, "\n")) {
      bytes = 1;
    }
    begins_line_ = bytes > 0 && rest_[bytes - 1] == '\n';
    Skip(bytes);
  }

  absl::Status Comment() {
    const size_t end = rest_.find("#}");
    if (end == absl::string_view::npos) return Error("a comment has no end");
    const char sign = end > 0 ? rest_[end - 1] : ' ';
    Skip(end + 2);
    AfterTag(sign == '-', sign != '+');
    return absl::OkStatus();
  }

  absl::Status Tag(Kind begin, Kind end, absl::string_view close) {
    Add(begin, "");
    const size_t first = tokens_.size();
    int depth = 0;  // of open brackets: within them "}}" is two brackets
    while (tokens_.size() - first < kMaxTagTokens) {
      Skip(rest_.size() - StripLeft(rest_).size());
      if (rest_.empty()) return Error("a tag has no end");
      for (const absl::string_view sign : {"-", "+", ""}) {
        if (depth > 0 || !absl::StartsWith(rest_, absl::StrCat(sign, close))) continue;
        Add(end, "");
        Skip(sign.size() + close.size());
        AfterTag(sign == "-", sign != "+" && end == Kind::kBlockEnd);
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(InnerToken(depth));
    }
    return Error(absl::StrCat("a tag has more than ", kMaxTagTokens, " tokens"));
  }

  absl::Status InnerToken(int& depth) {
    const char c = rest_[0];
    if (IsNameStart(c)) {
      TakeWhile(Kind::kName, IsNamePart);
      return absl::OkStatus();
    }
    if (absl::ascii_isdigit(c)) return NumberToken();
    if (c == '"' || c == '\'') return StringToken();
    for (const absl::string_view op : kOperators) {
      if (!absl::StartsWith(rest_, op)) continue;
      if (op == "(" || op == "[" || op == "{") ++depth;
      if (op == ")" || op == "]" || op == "}") --depth;
      Add(Kind::kOperator, op);
      Skip(op.size());
      return absl::OkStatus();
    }
    return Error(
        absl::StrCat("unexpected character ", rest_.substr(0, FirstCharacter(rest_).bytes)));
  }

  template <typename Predicate>
  void TakeWhile(Kind kind, Predicate belongs) {
    size_t size = 0;
    while (size < rest_.size() && belongs(rest_[size])) ++size;
    Add(kind, rest_.substr(0, size));
    Skip(size);
  }

  absl::Status NumberToken() {
    size_t size = 0;
    const auto digits = [&] {
      while (size < rest_.size() && absl::ascii_isdigit(rest_[size])) ++size;
    };
    digits();
    const bool is_float =
        size + 1 < rest_.size() && rest_[size] == '.' && absl::ascii_isdigit(rest_[size + 1]);
    if (is_float) {
      ++size;
      digits();
    }
    int64_t integer;
    if (!is_float && !absl::SimpleAtoi(rest_.substr(0, size), &integer)) {
      return Error(absl::StrCat("the number ", rest_.substr(0, size), " is too large"));
    }
    Add(is_float ? Kind::kFloat : Kind::kInteger, rest_.substr(0, size));
    Skip(size);
    return absl::OkStatus();
  }

  absl::Status StringToken() {
    const char quote = rest_[0];
    std::string text;
    size_t i = 1;
    while (i < rest_.size() && rest_[i] != quote) {
      if (rest_[i] != '\\') {
        text += rest_[i++];
        continue;
      }
      ++i;
      if (i == rest_.size()) break;
      RETURN_IF_ERROR(Escape(i, text));
    }
    if (i >= rest_.size()) return Error("a string has no end");
    Add(Kind::kString, text);
    Skip(i + 1);
    return absl::OkStatus();
  }

  // The escape whose letter is at `i`, as Python has them.
  absl::Status Escape(size_t& i, std::string& text) {
    constexpr absl::string_view kLetters = "ntrabfv\\'\"0";
    constexpr absl::string_view kMeanings("\n\t\r\a\b\f\v\\'\"\0", 11);
    const char letter = rest_[i++];
    const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    uint32_t code_point = 0;
    if (digits > 0) {
      if (!absl::SimpleHexAtoi(rest_.substr(i, digits), &code_point) ||
          rest_.substr(i, digits).size() != digits || code_point > 0x10FFFF ||
          (code_point >= 0xD800 && code_point < 0xE000)) {
        return Error(absl::StrCat("no character: \\", rest_.substr(i - 1, digits + 1)));
      }
      AppendCharacter(static_cast<int32_t>(code_point), text);
      i += digits;
    } else if (const size_t meaning = kLetters.find(letter); meaning != absl::string_view::npos) {
      if (letter == '0' && i < rest_.size() && absl::ascii_isdigit(rest_[i])) {
        return Error("octal escapes aren't supported");
      }
      text += kMeanings[meaning];
    } else if (letter != '\n') {
      if (absl::ascii_isdigit(letter) || letter == 'N') {
        return Error(absl::StrCat("the escape \\", std::string(1, letter), " isn't supported"));
      }
      text += '\\';
      text += letter;
    }
    return absl::OkStatus();
  }

  const std::string source_;
  absl::string_view rest_;
  std::vector<Token> tokens_;
  int line_ = 1;
  bool begins_line_ = true;  // whether `rest_` is at the beginning of a line that tags have left
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  return Lexer(source).Run();
}

bool IsPythonSpace(int32_t code_point) {
  return IsWhiteSpace(code_point) || (code_point >= 0x1C && code_point <= 0x1F);
}

absl::string_view StripLeft(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Character first = FirstCharacter(text);
    if (!IsPythonSpace(first.code_point)) break;
    text.remove_prefix(first.bytes);
  }
  return text;
}

absl::string_view StripRight(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Character last = LastCharacter(text);
    if (!IsPythonSpace(last.code_point)) break;
    text.remove_suffix(last.bytes);
  }
  return text;
}

}  // namespace kvp::jinja
