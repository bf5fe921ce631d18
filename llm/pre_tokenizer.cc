#include "llm/pre_tokenizer.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "llm/regex_splitter.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Real files have up to four.
constexpr size_t kMaxSteps = 64;

// What becomes of the matches of a pattern.
enum class Behavior { kIsolated, kRemoved, kContiguous, kMergedWithPrevious, kMergedWithNext };

struct Stretch {
  absl::string_view text;
  bool is_match;
};

absl::string_view Joined(absl::string_view left, absl::string_view right) {
  return absl::string_view(left.data(), left.size() + right.size());
}

// Joins neighbours of the same kind.
void MergeContiguous(std::vector<Stretch>& stretches) {
  size_t size = 0;
  for (const Stretch& stretch : stretches) {
    if (size > 0 && stretches[size - 1].is_match == stretch.is_match) {
      stretches[size - 1].text = Joined(stretches[size - 1].text, stretch.text);
    } else {
      stretches[size++] = stretch;
    }
  }
  stretches.resize(size);
}

// Joins a match to what is before it, but no match to a match.
void MergeWithPrevious(std::vector<Stretch>& stretches) {
  size_t size = 0;
  bool after_match = false;
  for (const Stretch& stretch : stretches) {
    if (stretch.is_match && !after_match && size > 0) {
      stretches[size - 1].text = Joined(stretches[size - 1].text, stretch.text);
    } else {
      stretches[size++].text = stretch.text;
    }
    after_match = stretch.is_match;
  }
  stretches.resize(size);
}

// Joins a match to what is behind it, but no match to a match.
void MergeWithNext(std::vector<Stretch>& stretches) {
  size_t begin = stretches.size();  // of what is merged, at the end of `stretches`
  bool before_match = false;
  for (size_t i = stretches.size(); i-- > 0;) {
    const Stretch stretch = stretches[i];
    if (stretch.is_match && !before_match && begin < stretches.size()) {
      stretches[begin].text = Joined(stretch.text, stretches[begin].text);
    } else {
      stretches[--begin].text = stretch.text;
    }
    before_match = stretch.is_match;
  }
  stretches.erase(stretches.begin(), stretches.begin() + begin);
}

class SplitPreTokenizer : public PreTokenizer {
 public:
  SplitPreTokenizer(std::unique_ptr<RegexSplitter> pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void Split(const Piece& piece, Sink sink) const override {
    const auto give = [&](absl::string_view text) {
      const bool is_first = text.data() == piece.text.data();
      sink({text, piece.at_start && is_first, piece.continues && is_first});
    };
    std::vector<Stretch> stretches;
    pattern_->Split(piece.text, [&](absl::string_view text, bool found) {
      const bool is_match = found != invert_;
      if (behavior_ == Behavior::kIsolated) {
        give(text);
      } else if (behavior_ == Behavior::kRemoved) {
        if (!is_match) give(text);
      } else {
        stretches.push_back({text, is_match});
      }
    });
    if (behavior_ == Behavior::kContiguous) MergeContiguous(stretches);
    if (behavior_ == Behavior::kMergedWithPrevious) MergeWithPrevious(stretches);
    if (behavior_ == Behavior::kMergedWithNext) MergeWithNext(stretches);
    for (const Stretch& stretch : stretches) give(stretch.text);
  }

 private:
  const std::unique_ptr<RegexSplitter> pattern_;
  const Behavior behavior_;
  const bool invert_;
};

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  // `splitter` may be null.
  ByteLevelPreTokenizer(bool add_prefix_space, std::unique_ptr<RegexSplitter> splitter)
      : add_prefix_space_(add_prefix_space), splitter_(std::move(splitter)) {}

  bool is_byte_level() const override { return true; }

  void Split(const Piece& piece, Sink sink) const override {
    std::string with_space;
    absl::string_view text = piece.text;
    if (add_prefix_space_ && !piece.continues && !absl::StartsWith(text, " ")) {
      with_space = absl::StrCat(" ", text);
      text = with_space;
    }
    if (splitter_ == nullptr) {
      sink({text, piece.at_start});
      return;
    }
    splitter_->Split(text, [&](absl::string_view part, bool is_match) {
      sink({part, piece.at_start && part.data() == text.data()});
    });
  }

 private:
  const bool add_prefix_space_;
  const std::unique_ptr<RegexSplitter> splitter_;
};

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };

  // `splitter` finds the replacement; null where text isn't split.
  MetaspacePreTokenizer(std::string replacement, Prepend prepend,
                        std::unique_ptr<SplitPreTokenizer> splitter)
      : replacement_(std::move(replacement)), prepend_(prepend), splitter_(std::move(splitter)) {}

  void Split(const Piece& piece, Sink sink) const override {
    std::string text = absl::StrReplaceAll(piece.text, {{" ", replacement_}});
    const bool wants_one = (prepend_ == Prepend::kAlways && !piece.continues) ||
                           (prepend_ == Prepend::kFirst && piece.at_start);
    if (wants_one && !absl::StartsWith(text, replacement_)) text.insert(0, replacement_);
    const Piece replaced = {text, piece.at_start, piece.continues};
    if (splitter_ == nullptr) {
      sink(replaced);
    } else {
      splitter_->Split(replaced, sink);
    }
  }

 private:
  const std::string replacement_;
  const Prepend prepend_;
  const std::unique_ptr<SplitPreTokenizer> splitter_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}

  bool is_byte_level() const override { return !steps_.empty() && steps_.back()->is_byte_level(); }

  size_t steps() const override {
    size_t steps = 1;
    for (const auto& step : steps_) steps += step->steps();
    return steps;
  }

  void Split(const Piece& piece, Sink sink) const override { SplitFrom(0, piece, sink); }

 private:
  void SplitFrom(size_t step, const Piece& piece, Sink sink) const {
    if (step == steps_.size()) {
      sink(piece);
    } else {
      steps_[step]->Split(piece, [&](const Piece& part) { SplitFrom(step + 1, part, sink); });
    }
  }

  const std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

absl::StatusOr<Behavior> ParseBehavior(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string name, fields.String("behavior"));
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Contiguous") return Behavior::kContiguous;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  return fields.Invalid(
      "behavior", "known are Isolated, Removed, Contiguous, MergedWithPrevious, MergedWithNext");
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> ParseSplit(const TokenizerComponent& component) {
  ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(component.fields()));
  ASSIGN_OR_RETURN(const bool invert, component.fields().BoolOr("invert", false));
  ASSIGN_OR_RETURN(auto pattern, component.Pattern());
  return std::make_unique<SplitPreTokenizer>(std::move(pattern), behavior, invert);
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> ParseDigits(const TokenizerComponent& component) {
  ASSIGN_OR_RETURN(const bool individual, component.fields().BoolOr("individual_digits", false));
  ASSIGN_OR_RETURN(auto pattern, RegexSplitter::Create(individual ? R"(\p{N})" : R"(\p{N}+)"));
  return std::make_unique<SplitPreTokenizer>(std::move(pattern), Behavior::kIsolated, false);
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> ParseByteLevel(const TokenizerComponent& component) {
  ASSIGN_OR_RETURN(const bool prefix, component.fields().BoolOr("add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, component.fields().BoolOr("use_regex", true));
  std::unique_ptr<RegexSplitter> splitter;
  if (use_regex) {
    ASSIGN_OR_RETURN(splitter, RegexSplitter::Create(kGpt2Pattern));
  }
  return std::make_unique<ByteLevelPreTokenizer>(prefix, std::move(splitter));
}

absl::StatusOr<MetaspacePreTokenizer::Prepend> ParsePrepend(const JsonFields& fields) {
  using Prepend = MetaspacePreTokenizer::Prepend;
  ASSIGN_OR_RETURN(const bool add_prefix_space, fields.BoolOr("add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::string scheme,
                   fields.StringOr("prepend_scheme", add_prefix_space ? "always" : "never"));
  if (!add_prefix_space && scheme != "never") {
    return fields.Invalid("prepend_scheme", "with add_prefix_space false it must be never");
  }
  if (scheme == "always") return Prepend::kAlways;
  if (scheme == "first") return Prepend::kFirst;
  if (scheme == "never") return Prepend::kNever;
  return fields.Invalid("prepend_scheme", "known are always, first and never");
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> ParseMetaspace(const TokenizerComponent& component) {
  ASSIGN_OR_RETURN(std::string replacement, component.Character("replacement"));
  ASSIGN_OR_RETURN(const auto prepend, ParsePrepend(component.fields()));
  ASSIGN_OR_RETURN(const bool split, component.fields().BoolOr("split", true));
  std::unique_ptr<SplitPreTokenizer> splitter;
  if (split) {
    ASSIGN_OR_RETURN(auto pattern, RegexSplitter::Create(replacement, /*literal=*/true));
    splitter = std::make_unique<SplitPreTokenizer>(std::move(pattern), Behavior::kMergedWithNext,
                                                   /*invert=*/false);
  }
  return std::make_unique<MetaspacePreTokenizer>(std::move(replacement), prepend,
                                                 std::move(splitter));
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> ParseSequence(const TokenizerComponent& component) {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  RETURN_IF_ERROR(component.ForEachPart("pretokenizers", [&](const TokenizerComponent& part) {
    if (!steps.empty() && steps.back()->is_byte_level()) {
      return part.fields().Unsupported("type", "nothing may follow ByteLevel");
    }
    absl::StatusOr<std::unique_ptr<PreTokenizer>> step = PreTokenizer::Parse(part);
    if (step.ok()) steps.push_back(*std::move(step));
    return step.status();
  }));
  auto sequence = std::make_unique<PreTokenizerSequence>(std::move(steps));
  if (sequence->steps() > kMaxSteps) {
    return component.fields().Unsupported("pretokenizers", "there are too many of them");
  }
  return sequence;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> PreTokenizer::Parse(
    const TokenizerComponent& component) {
  const std::string& type = component.type();
  if (type == "Split") return ParseSplit(component);
  if (type == "Digits") return ParseDigits(component);
  if (type == "Metaspace") return ParseMetaspace(component);
  if (type == "ByteLevel") return ParseByteLevel(component);
  if (type == "Sequence") return ParseSequence(component);
  return component.UnsupportedType("Split, Digits, Metaspace, ByteLevel and Sequence");
}

}  // namespace kvp
