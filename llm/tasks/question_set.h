// Questions about documents, from the files that SQuAD and HotpotQA are published as.

#ifndef KVP_LLM_TASKS_QUESTION_SET_H_
#define KVP_LLM_TASKS_QUESTION_SET_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvp {

struct QuestionSet {
  enum class Format { kSquad, kHotpotQa };

  struct Question {
    std::string text;
    std::vector<std::string> answers;  // any of them is right; not empty
    // Indices of `documents`: those that the question comes with, and related ones that are the
    // first to be added.
    std::vector<size_t> documents;
    std::vector<size_t> related;
  };

  Format format = Format::kSquad;
  std::string path;
  std::vector<std::string> documents;  // sorted, without repetition
  std::vector<Question> questions;     // in the file's order
};

// Reads a JSON file, SQuAD 1.1 or 2.0 where it is an object,
//
//   {"data": [{"paragraphs": [{"context": "…", "qas":
//       [{"question": "…", "answers": [{"text": "…"}], "is_impossible": false}]}]}]}
//
// HotpotQA (distractor setting) where it is an array,
//
//   [{"question": "…", "answer": "…", "context": [["title", ["sentence", …]], …]}]
//
// SQuAD's documents are paragraphs, related are the article's others; unanswerable questions are
// left out. HotpotQA's documents are a title, a line break and the sentences. Other fields are
// ignored. NOT_FOUND or UNAVAILABLE naming the file; INVALID_ARGUMENT naming file, field and value
// where it is malformed, or has no question.
absl::StatusOr<QuestionSet> ReadQuestionSet(const std::string& path);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_QUESTION_SET_H_
