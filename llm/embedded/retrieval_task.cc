#include "llm/embedded/retrieval_task.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace kvp {
namespace {

constexpr size_t kMinWordLetters = 3;
// Below this many words, needles would repeat from context to context.
constexpr size_t kMinWords = 100;
// A run of filler that leaves too few unused words is drawn anew.
constexpr int kMaxAttempts = 20;

// Calls `visit` with every maximal run of ASCII letters in `text`.
template <typename Visitor>
void ForEachWord(absl::string_view text, Visitor visit) {
  for (size_t begin = 0; begin < text.size();) {
    if (!absl::ascii_isalpha(text[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < text.size() && absl::ascii_isalpha(text[end])) ++end;
    visit(text.substr(begin, end - begin));
    begin = end;
  }
}

// Whether the period at the end of `text` belongs to an abbreviation.
bool EndsWithAbbreviation(absl::string_view text) {
  const size_t space = text.rfind(' ');
  const absl::string_view last = space == absl::string_view::npos ? text : text.substr(space + 1);
  return last == "Mr." || last == "Mrs." || last == "Dr." || last == "St." || last == "Capt." ||
         last == "Col." || (last.size() == 2);
}

}  // namespace

std::string RetrievalTask::FullText() const {
  std::string text = context;
  for (const Question& question : questions) {
    absl::StrAppend(&text, question.question, question.answer);
  }
  return text;
}

std::vector<std::string> SplitSentences(absl::string_view paragraph) {
  std::vector<std::string> sentences;
  std::string sentence;
  for (absl::string_view word : absl::StrSplit(paragraph, ' ', absl::SkipEmpty())) {
    absl::StrAppend(&sentence, " ", word);
    const size_t last = word.find_last_not_of("\"')");
    if (last == absl::string_view::npos) continue;
    const char c = word[last];
    if ((c == '.' && !EndsWithAbbreviation(word)) || c == '!' || c == '?') {
      sentences.push_back(std::move(sentence));
      sentence.clear();
    }
  }
  if (!sentence.empty()) sentences.push_back(std::move(sentence));
  return sentences;
}

absl::StatusOr<RetrievalTaskGenerator> RetrievalTaskGenerator::Create(absl::string_view text,
                                                                      CountTokens count_tokens) {
  RetrievalTaskGenerator generator;
  generator.count_tokens_ = std::move(count_tokens);
  std::set<std::string> candidates;
  for (absl::string_view paragraph : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    for (std::string& sentence : SplitSentences(paragraph)) {
      ForEachWord(sentence, [&candidates](absl::string_view word) {
        if (word.size() >= kMinWordLetters &&
            std::all_of(word.begin(), word.end(), absl::ascii_islower)) {
          candidates.emplace(word);
        }
      });
      const size_t tokens = generator.count_tokens_(sentence);
      generator.sentences_.push_back({std::move(sentence), tokens});
    }
  }
  for (const std::string& word : candidates) {
    if (generator.count_tokens_(absl::StrCat(" ", word)) == 1) {
      generator.words_.push_back(word);
    }
  }
  if (generator.sentences_.empty() || generator.words_.size() < kMinWords) {
    return absl::InvalidArgumentError(absl::StrCat(
        "retrieval text: ", generator.sentences_.size(), " sentences and ", generator.words_.size(),
        " one-token words; at least 1 and ", kMinWords, " are needed"));
  }
  generator.needle_frame_tokens_ = generator.count_tokens_(" ;") + generator.count_tokens_(" .");
  return generator;
}

absl::StatusOr<RetrievalTask> RetrievalTaskGenerator::Generate(const RetrievalOptions& options,
                                                               uint64_t seed) const {
  const int64_t needle_tokens = options.needles * static_cast<int64_t>(needle_frame_tokens_ + 2);
  if (options.needles < 1 || options.questions < 0 || options.questions > options.needles ||
      options.context_tokens < needle_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("retrieval task: ", options.needles, " needles and ", options.questions,
                     " questions don't fit a context of ", options.context_tokens, " tokens"));
  }
  const size_t filler_tokens = options.context_tokens - needle_tokens;
  SplitMix64 random(seed);

  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    // A run of sentences; the last is cut at a word so that the length is met.
    std::vector<absl::string_view> filler;
    std::string last_sentence;
    size_t tokens = 0;
    size_t next = random.Below(sentences_.size());
    for (; next < sentences_.size(); ++next) {
      const Sentence& sentence = sentences_[next];
      if (tokens + sentence.tokens > filler_tokens) break;
      tokens += sentence.tokens;
      filler.push_back(sentence.text);
    }
    if (next == sentences_.size() && tokens < filler_tokens) continue;
    if (next < sentences_.size()) {
      for (absl::string_view word : absl::StrSplit(sentences_[next].text, ' ', absl::SkipEmpty())) {
        const std::string piece = absl::StrCat(" ", word);
        const size_t piece_tokens = count_tokens_(piece);
        if (tokens + piece_tokens > filler_tokens) break;
        tokens += piece_tokens;
        last_sentence += piece;
      }
      if (!last_sentence.empty()) filler.push_back(last_sentence);
    }

    absl::flat_hash_set<std::string> used;
    for (absl::string_view sentence : filler) {
      ForEachWord(sentence,
                  [&used](absl::string_view word) { used.insert(absl::AsciiStrToLower(word)); });
    }
    std::vector<absl::string_view> unused;
    for (const std::string& word : words_) {
      if (!used.contains(word)) unused.push_back(word);
    }
    const size_t needles = options.needles;
    if (unused.size() < 2 * needles) continue;
    random.Shuffle(&unused);

    // gaps[i] says before which filler sentence needle i goes.
    std::vector<size_t> gaps(needles);
    for (size_t& gap : gaps) gap = random.Below(filler.size() + 1);
    std::sort(gaps.begin(), gaps.end());
    RetrievalTask task;
    size_t needle = 0;
    for (size_t i = 0; i <= filler.size(); ++i) {
      for (; needle < needles && gaps[needle] == i; ++needle) {
        absl::StrAppend(&task.context, " ; ", unused[2 * needle], " ", unused[2 * needle + 1],
                        " .");
      }
      if (i < filler.size()) absl::StrAppend(&task.context, filler[i]);
    }
    std::vector<size_t> order(needles);
    for (size_t i = 0; i < needles; ++i) order[i] = i;
    random.Shuffle(&order);
    for (int i = 0; i < options.questions; ++i) {
      task.questions.push_back(
          {absl::StrCat(" ? ", unused[2 * order[i]]), absl::StrCat(" ", unused[2 * order[i] + 1])});
    }
    return task;
  }
  return absl::InvalidArgumentError(absl::StrCat("retrieval task: the text has no run of ",
                                                 filler_tokens, " tokens that leaves ",
                                                 2 * options.needles, " unused words"));
}

}  // namespace kvp
