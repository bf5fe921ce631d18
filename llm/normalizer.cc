#include "llm/normalizer.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "llm/utf8.h"
#include "utf8proc.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Characters below it combine with none before them.
constexpr int32_t kFirstCombining = 0x300;
// The first characters that decompose, into compatible or canonical ones.
constexpr int32_t kFirstCompatibility = 0xA0;
constexpr int32_t kFirstCanonical = 0xC0;
// The most characters that one decomposes into (U+FDFA).
constexpr int kMaxDecomposition = 18;
// Of replacements, one after the other: " " to "▁" triples a text of spaces.
constexpr double kMaxGrowth = 1000;

// Unicode Standard Annex 15.
class UnicodeNormalizer : public Normalizer {
 public:
  UnicodeNormalizer(bool compose, bool compatible)
      : compose_(compose),
        compatible_(compatible),
        first_decomposed_(compatible ? kFirstCompatibility : kFirstCanonical) {}

  std::string Normalize(absl::string_view text) const override {
    const bool is_ascii =
        std::all_of(text.begin(), text.end(), [](char byte) { return (byte & 0x80) == 0; });
    if (is_ascii) return std::string(text);
    std::string result;
    result.reserve(text.size());
    std::vector<utf8proc_int32_t> run;  // decomposed characters that weren't appended yet
    for (size_t i = 0; i < text.size();) {
      const Utf8Character character = FirstCharacter(text.substr(i));
      if (character.code_point < 0) {
        Flush(run, result);
        result.push_back(text[i]);
      } else {
        if (character.code_point < kFirstCombining) Flush(run, result);
        Decompose(character.code_point, run);
      }
      i += character.bytes;
    }
    Flush(run, result);
    return result;
  }

 private:
  void Decompose(int32_t code_point, std::vector<utf8proc_int32_t>& run) const {
    if (code_point < first_decomposed_) {
      run.push_back(code_point);
      return;
    }
    utf8proc_int32_t parts[kMaxDecomposition];
    int boundary = 0;
    const int options = UTF8PROC_STABLE | (compatible_ ? UTF8PROC_COMPAT : 0) |
                        (compose_ ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        code_point, parts, kMaxDecomposition, static_cast<utf8proc_option_t>(options), &boundary);
    if (count < 0 || count > kMaxDecomposition) {
      run.push_back(code_point);
    } else {
      run.insert(run.end(), parts, parts + count);
    }
  }

  // utf8proc's own reordering takes quadratic time for a long row of combining marks.
  static void Reorder(std::vector<utf8proc_int32_t>& run) {
    const auto combining = [](utf8proc_int32_t c) {
      return utf8proc_get_property(c)->combining_class;
    };
    for (auto begin = run.begin(); begin != run.end();) {
      if (combining(*begin) == 0) {
        ++begin;
        continue;
      }
      const auto end = std::find_if(begin, run.end(), [&](auto c) { return combining(c) == 0; });
      std::stable_sort(begin, end, [&](auto a, auto b) { return combining(a) < combining(b); });
      begin = end;
    }
  }

  void Flush(std::vector<utf8proc_int32_t>& run, std::string& result) const {
    if (run.size() > 1) {
      Reorder(run);
      if (compose_) {
        const utf8proc_ssize_t size = utf8proc_normalize_utf32(
            run.data(), static_cast<utf8proc_ssize_t>(run.size()),
            static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
        if (size >= 0) run.resize(size);
      }
    }
    for (const utf8proc_int32_t code_point : run) AppendCharacter(code_point, result);
    run.clear();
  }

  const bool compose_;
  const bool compatible_;
  const int32_t first_decomposed_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}

  std::string Normalize(absl::string_view text) const override {
    return text.empty() ? "" : absl::StrCat(prefix_, text);
  }

  std::string NormalizeContinuation(absl::string_view text) const override {
    return std::string(text);
  }

 private:
  const std::string prefix_;
};

class ReplaceNormalizer : public Normalizer {
 public:
  ReplaceNormalizer(std::unique_ptr<RegexSplitter> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  std::string Normalize(absl::string_view text) const override {
    std::string result;
    result.reserve(text.size());
    pattern_->Split(text, [&](absl::string_view piece, bool is_match) {
      absl::StrAppend(&result, is_match ? content_ : piece);
    });
    return result;
  }

  double growth() const override { return std::max<double>(1, content_.size()); }

 private:
  const std::unique_ptr<RegexSplitter> pattern_;
  const std::string content_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> normalizers)
      : normalizers_(std::move(normalizers)) {}

  std::string Normalize(absl::string_view text) const override {
    std::string result(text);
    for (const auto& normalizer : normalizers_) result = normalizer->Normalize(result);
    return result;
  }

  std::string NormalizeContinuation(absl::string_view text) const override {
    std::string result(text);
    for (const auto& normalizer : normalizers_) result = normalizer->NormalizeContinuation(result);
    return result;
  }

  double growth() const override {
    double growth = 1;
    for (const auto& normalizer : normalizers_) growth *= normalizer->growth();
    return growth;
  }

 private:
  const std::vector<std::unique_ptr<Normalizer>> normalizers_;
};

absl::StatusOr<std::unique_ptr<Normalizer>> ParseReplace(const TokenizerComponent& component) {
  ASSIGN_OR_RETURN(auto pattern, component.Pattern());
  if (pattern->MatchesEmpty()) {
    return component.fields().Unsupported("pattern", "it could match nothing at all");
  }
  ASSIGN_OR_RETURN(std::string content, component.fields().String("content"));
  auto replace = std::make_unique<ReplaceNormalizer>(std::move(pattern), std::move(content));
  if (replace->growth() > kMaxGrowth) {
    return component.fields().Unsupported("content", "texts could get too long");
  }
  return replace;
}

absl::StatusOr<std::unique_ptr<Normalizer>> ParseSequence(const TokenizerComponent& component) {
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  RETURN_IF_ERROR(component.ForEachPart("normalizers", [&](const TokenizerComponent& part) {
    absl::StatusOr<std::unique_ptr<Normalizer>> normalizer = Normalizer::Parse(part);
    if (normalizer.ok()) normalizers.push_back(*std::move(normalizer));
    return normalizer.status();
  }));
  auto sequence = std::make_unique<NormalizerSequence>(std::move(normalizers));
  if (sequence->growth() > kMaxGrowth) {
    return component.fields().Unsupported("normalizers", "texts could get too long");
  }
  return sequence;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Normalizer>> Normalizer::Parse(const TokenizerComponent& component) {
  const std::string& type = component.type();
  if (type == "NFC") return std::make_unique<UnicodeNormalizer>(true, false);
  if (type == "NFD") return std::make_unique<UnicodeNormalizer>(false, false);
  if (type == "NFKC") return std::make_unique<UnicodeNormalizer>(true, true);
  if (type == "NFKD") return std::make_unique<UnicodeNormalizer>(false, true);
  if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string prefix, component.fields().String("prepend"));
    return std::make_unique<PrependNormalizer>(std::move(prefix));
  }
  if (type == "Replace") return ParseReplace(component);
  if (type == "Sequence") return ParseSequence(component);
  return component.UnsupportedType("NFC, NFD, NFKC, NFKD, Prepend, Replace and Sequence");
}

}  // namespace kvp
