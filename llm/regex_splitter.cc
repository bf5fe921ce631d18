#include "llm/regex_splitter.h"

#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "pcre2.h"

namespace kvp {

const char kGpt2Pattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr size_t kJitStackMinBytes = size_t{32} << 10;
constexpr size_t kJitStackMaxBytes = size_t{8} << 20;

// White_Space as the inside of a character class. PCRE2's own \s has U+180E too, which Unicode took
// out in version 6.3.
constexpr char kWhiteSpace[] =
    R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

bool IsContinuation(char byte) { return (byte & 0xC0) == 0x80; }

absl::Status DiffersFromOniguruma(size_t place, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("at character ", place, ": ", what,
                                                 " mean something else in Hugging Face's regular "
                                                 "expressions, and aren't supported"));
}

// Rewrites an Oniguruma expression for PCRE2, one character or escape after another.
class Translation {
 public:
  explicit Translation(absl::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (i_ < pattern_.size()) {
      RETURN_IF_ERROR(pattern_[i_] == '\\' ? Escape() : in_class_ ? InClass() : OutsideClass());
    }
    return std::move(result_);
  }

 private:
  bool At(absl::string_view text) const { return absl::StartsWith(pattern_.substr(i_), text); }

  void Copy(size_t count) {
    absl::StrAppend(&result_, pattern_.substr(i_, count));
    i_ += count;
  }

  // Within a class \S stays as it is: it can't be spelled there, and no tokenizer in use has it.
  absl::Status Escape() {
    if (At("\\s")) {
      absl::StrAppend(&result_, in_class_ ? "" : "[", kWhiteSpace, in_class_ ? "" : "]");
      i_ += 2;
    } else if (At("\\S") && !in_class_) {
      absl::StrAppend(&result_, "[^", kWhiteSpace, "]");
      i_ += 2;
    } else if (At("\\h") || At("\\H") || At("\\Q")) {
      return DiffersFromOniguruma(i_, "\\h, \\H and \\Q");
    } else if (At("\\p{") || At("\\P{") || At("\\x{")) {
      const size_t close = pattern_.find('}', i_);
      Copy(close == absl::string_view::npos ? pattern_.size() - i_ : close + 1 - i_);
    } else {
      Copy(2);
    }
    return absl::OkStatus();
  }

  absl::Status InClass() {
    if (At("&&") || (At("[") && !At("[:"))) {
      return DiffersFromOniguruma(i_, "classes within classes");
    }
    if (At("[:")) {
      const size_t close = pattern_.find(":]", i_);
      Copy(close == absl::string_view::npos ? pattern_.size() - i_ : close + 2 - i_);
      return absl::OkStatus();
    }
    if (At("]")) in_class_ = false;
    Copy(1);
    return absl::OkStatus();
  }

  absl::Status OutsideClass() {
    if (At("(?m") || At("(?x")) return DiffersFromOniguruma(i_, "(?m and (?x");
    if (At("{")) {
      const size_t close = pattern_.find_first_not_of("0123456789,", i_ + 1);
      if (close != absl::string_view::npos && absl::StartsWith(pattern_.substr(close), "}+")) {
        return DiffersFromOniguruma(i_, "possessive intervals");
      }
    }
    if (At("[")) {
      in_class_ = true;
      Copy(At("[^") ? 2 : 1);
      // A bracket at the beginning of a class stands for itself.
      if (At("]")) Copy(1);
      return absl::OkStatus();
    }
    Copy(1);
    return absl::OkStatus();
  }

  const absl::string_view pattern_;
  std::string result_;
  size_t i_ = 0;
  bool in_class_ = false;
};

// What matching needs beside the pattern: one for each thread, for all patterns.
class Matcher {
 public:
  static Matcher& OfThisThread() {
    thread_local Matcher matcher;
    return matcher;
  }

  // The next match at or after `from`: whether there is one, and [begin, end).
  bool Next(const pcre2_code* code, absl::string_view text, size_t from, size_t& begin,
            size_t& end) {
    int result = Run(code, text, from, 0);
    // The interpreter has no such limit on its stack.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = Run(code, text, from, PCRE2_NO_JIT);
    if (result < 0) return false;
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data_);
    begin = offsets[0];
    end = offsets[1];
    return true;
  }

 private:
  Matcher()
      : data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(kJitStackMinBytes, kJitStackMaxBytes, nullptr)) {
    pcre2_jit_stack_assign(context_, nullptr, stack_);
  }
  ~Matcher() {
    pcre2_jit_stack_free(stack_);
    pcre2_match_context_free(context_);
    pcre2_match_data_free(data_);
  }

  int Run(const pcre2_code* code, absl::string_view text, size_t from, uint32_t options) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, options,
                       data_, context_);
  }

  pcre2_match_data* data_;
  pcre2_match_context* context_;
  pcre2_jit_stack* stack_;
};

}  // namespace

struct RegexSplitter::Pattern {
  pcre2_code* code = nullptr;
  std::string literal;  // instead of code
  ~Pattern() { pcre2_code_free(code); }

  // The next match at or after `from`: whether there is one, and [begin, end).
  bool Next(absl::string_view text, size_t from, size_t& begin, size_t& end) const {
    if (code != nullptr) return Matcher::OfThisThread().Next(code, text, from, begin, end);
    begin = text.find(literal, from);
    end = begin + literal.size();
    return begin != absl::string_view::npos;
  }
};

RegexSplitter::RegexSplitter(std::unique_ptr<Pattern> pattern) : pattern_(std::move(pattern)) {}
RegexSplitter::~RegexSplitter() = default;

absl::StatusOr<std::unique_ptr<RegexSplitter>> RegexSplitter::Create(const std::string& pattern,
                                                                     bool literal) {
  if (literal) {
    return std::unique_ptr<RegexSplitter>(
        new RegexSplitter(std::unique_ptr<Pattern>(new Pattern{nullptr, pattern})));
  }
  ASSIGN_OR_RETURN(const std::string spelled, Translation(pattern).Run());
  // With PCRE2_MATCH_INVALID_UTF a match never covers or looks at bytes that aren't UTF-8. In
  // Oniguruma ^ and $ are about lines.
  constexpr uint32_t options =
      PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_MULTILINE;
  int error = 0;
  PCRE2_SIZE place = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
                                   options, &error, &place, nullptr);
  if (code == nullptr) {
    PCRE2_UCHAR reason[256];
    pcre2_get_error_message(error, reason, sizeof(reason));
    return absl::InvalidArgumentError(absl::StrCat("not a regular expression: at character ", place,
                                                   " of ", spelled, ": ",
                                                   reinterpret_cast<const char*>(reason)));
  }
  auto owned = std::unique_ptr<Pattern>(new Pattern{code, ""});
  // Where the processor has no JIT, the interpreter gives the same matches.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return std::unique_ptr<RegexSplitter>(new RegexSplitter(std::move(owned)));
}

void RegexSplitter::Split(
    absl::string_view text,
    absl::FunctionRef<void(absl::string_view piece, bool is_match)> piece) const {
  size_t done = 0;    // text before this has been given out
  size_t search = 0;  // where to look for the next match: behind `done` after an empty match
  size_t begin = 0;
  size_t end = 0;
  while (search <= text.size() && pattern_->Next(text, search, begin, end)) {
    if (begin > done) piece(text.substr(done, begin - done), false);
    if (end > begin) piece(text.substr(begin, end - begin), true);
    done = end;
    search = end;
    if (end == begin) {
      ++search;
      while (search < text.size() && IsContinuation(text[search])) ++search;
    }
  }
  if (done < text.size()) piece(text.substr(done), false);
}

bool RegexSplitter::MatchesEmpty() const {
  if (pattern_->code == nullptr) return pattern_->literal.empty();
  uint32_t matches_empty = 0;
  pcre2_pattern_info(pattern_->code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  return matches_empty != 0;
}

}  // namespace kvp
