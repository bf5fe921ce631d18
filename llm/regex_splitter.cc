#include "llm/regex_splitter.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "pcre2.h"

namespace kvp {

const char kGpt2Pattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr size_t kJitStackMinBytes = size_t{32} << 10;
constexpr size_t kJitStackMaxBytes = size_t{8} << 20;

bool IsContinuation(char byte) { return (byte & 0xC0) == 0x80; }

// What one call of Split needs; freed at its end.
class Matcher {
 public:
  explicit Matcher(const pcre2_code* code)
      : code_(code),
        data_(pcre2_match_data_create_from_pattern(code, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(kJitStackMinBytes, kJitStackMaxBytes, nullptr)) {
    pcre2_jit_stack_assign(context_, nullptr, stack_);
  }
  ~Matcher() {
    pcre2_jit_stack_free(stack_);
    pcre2_match_context_free(context_);
    pcre2_match_data_free(data_);
  }

  // The next match at or after `from`: whether there is one, and [begin, end).
  bool Next(absl::string_view text, size_t from, size_t& begin, size_t& end) {
    int result = Run(text, from, 0);
    // The interpreter has no such limit on its stack.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = Run(text, from, PCRE2_NO_JIT);
    if (result < 0) return false;
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data_);
    begin = offsets[0];
    end = offsets[1];
    return true;
  }

 private:
  int Run(absl::string_view text, size_t from, uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, options,
                       data_, context_);
  }

  const pcre2_code* code_;
  pcre2_match_data* data_;
  pcre2_match_context* context_;
  pcre2_jit_stack* stack_;
};

}  // namespace

struct RegexSplitter::Pattern {
  pcre2_code* code;
  ~Pattern() { pcre2_code_free(code); }
};

RegexSplitter::RegexSplitter(std::unique_ptr<Pattern> pattern) : pattern_(std::move(pattern)) {}
RegexSplitter::~RegexSplitter() = default;

absl::StatusOr<std::unique_ptr<RegexSplitter>> RegexSplitter::Create(const std::string& pattern,
                                                                     bool literal) {
  // With PCRE2_MATCH_INVALID_UTF a match never covers or looks at bytes that aren't UTF-8.
  const uint32_t options = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF |
                           (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
  int error = 0;
  PCRE2_SIZE place = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   options, &error, &place, nullptr);
  if (code == nullptr) {
    PCRE2_UCHAR reason[256];
    pcre2_get_error_message(error, reason, sizeof(reason));
    return absl::InvalidArgumentError(absl::StrCat("not a regular expression: at character ", place,
                                                   ": ", reinterpret_cast<const char*>(reason)));
  }
  auto owned = std::unique_ptr<Pattern>(new Pattern{code});
  // Where the processor has no JIT, the interpreter gives the same matches.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return std::unique_ptr<RegexSplitter>(new RegexSplitter(std::move(owned)));
}

void RegexSplitter::Split(absl::string_view text,
                          const std::function<void(absl::string_view)>& piece) const {
  Matcher matcher(pattern_->code);
  size_t done = 0;    // text before this has been given out
  size_t search = 0;  // where to look for the next match: behind `done` after an empty match
  size_t begin = 0;
  size_t end = 0;
  while (search <= text.size() && matcher.Next(text, search, begin, end)) {
    if (begin > done) piece(text.substr(done, begin - done));
    if (end > begin) piece(text.substr(begin, end - begin));
    done = end;
    search = end;
    if (end == begin) {
      ++search;
      while (search < text.size() && IsContinuation(text[search])) ++search;
    }
  }
  if (done < text.size()) piece(text.substr(done));
}

}  // namespace kvp
