// Natural text as a haystack: runs of its sentences.

#ifndef KVP_LLM_TASKS_ESSAY_H_
#define KVP_LLM_TASKS_ESSAY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

// Immutable; thread-safe.
class Essay {
 public:
  // Line breaks and other white space count as one space each run, as in RULER. INVALID_ARGUMENT
  // for a text without words.
  static absl::StatusOr<Essay> Create(absl::string_view text);

  // Sentences from sentence `start` on that have `words` words together, the last cut at a word;
  // after the text's end comes its beginning again. start < size().
  std::vector<std::string> Sentences(size_t start, int64_t words) const;

  // Number of sentences.
  size_t size() const { return sentences_.size(); }

 private:
  struct Sentence {
    std::string text;
    int64_t words = 0;
  };

  Essay() = default;

  std::vector<Sentence> sentences_;
};

}  // namespace kvp

#endif  // KVP_LLM_TASKS_ESSAY_H_
