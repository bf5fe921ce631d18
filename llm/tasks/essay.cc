#include "llm/tasks/essay.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "llm/embedded/retrieval_task.h"

namespace kvp {
namespace {

// The first `words` words of a sentence with single spaces.
std::string FirstWords(const std::string& sentence, int64_t words) {
  size_t end = 0;
  for (; words > 0; --words) end = sentence.find(' ', end == 0 ? 0 : end + 1);
  return sentence.substr(0, end);
}

}  // namespace

absl::StatusOr<Essay> Essay::Create(absl::string_view text) {
  std::string spaced(text);
  for (char& c : spaced) {
    if (absl::ascii_isspace(c)) c = ' ';
  }
  Essay essay;
  for (std::string& sentence : SplitSentences(spaced)) {
    Sentence entry;
    // A sentence begins with a space.
    entry.words = std::count(sentence.begin(), sentence.end(), ' ');
    entry.text = sentence.substr(1);
    essay.sentences_.push_back(std::move(entry));
  }
  if (essay.sentences_.empty()) return absl::InvalidArgumentError("the text has no words");
  return essay;
}

std::vector<std::string> Essay::Sentences(size_t start, int64_t words) const {
  std::vector<std::string> run;
  for (size_t i = start; words > 0; i = (i + 1) % sentences_.size()) {
    const Sentence& sentence = sentences_[i];
    run.push_back(sentence.words <= words ? sentence.text : FirstWords(sentence.text, words));
    words -= sentence.words;
  }
  return run;
}

}  // namespace kvp
