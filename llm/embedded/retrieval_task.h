// Key-value retrieval in natural text: the task that the embedded model is
// trained to solve and that prompts for traces and evaluations are made of.
//
// A context is a run of sentences from a text with needles between them, then
// come the questions:
//
//   ... He went away. ; house water . She was glad. ; road seven . It was ...
//   ... the end of it. ? road seven ? house water
//
// A needle is " ; key value .", a question " ? key", its answer " value". Keys
// and values are words of one token; all of them differ within a context and
// none is a word of its filler, so every question has exactly one answer and
// recalling it takes the needle's cache entries. Questions come last and ask
// for needles in random order, so a cache compressed after the context is
// compressed without knowing them.
//
// Each piece starts where a byte-level BPE pre-tokenizer starts a new piece
// (a space followed by a word or by punctuation). Hence the token ids of
// `context`, `question` and `answer`, concatenated, are the ids of their
// concatenated text.

#ifndef KVP_LLM_EMBEDDED_RETRIEVAL_TASK_H_
#define KVP_LLM_EMBEDDED_RETRIEVAL_TASK_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "util/split_mix64.h"

namespace kvp {

struct RetrievalOptions {
  int needles = 28;
  // At most `needles`; each asks for another needle.
  int questions = 8;
  // The context has at most this many tokens, and at most a word's worth less.
  int context_tokens = 960;
};

struct RetrievalTask {
  struct Question {
    // " ? key"
    std::string question;
    // " value", one token.
    std::string answer;
  };

  std::string context;
  std::vector<Question> questions;

  // The whole sequence: context, then each question with its answer.
  std::string FullText() const;
};

// Makes tasks from a text. Thread-safe after creation, if `count_tokens` is.
class RetrievalTaskGenerator {
 public:
  // Number of tokens of a text under the model's tokenizer.
  using CountTokens = std::function<size_t(absl::string_view)>;

  // `text` has one paragraph a line. Keys and values are drawn from its
  // lower-case words of at least three letters that are one token with their
  // leading space. `count_tokens` is called during creation and generation.
  // INVALID_ARGUMENT if the text has no sentences or too few such words.
  static absl::StatusOr<RetrievalTaskGenerator> Create(absl::string_view text,
                                                       CountTokens count_tokens);

  // The same (text, tokenizer, options, seed) gives the same task.
  // INVALID_ARGUMENT if the options contradict each other, or if the text is
  // too short for the context or has too few words that don't occur in it.
  absl::StatusOr<RetrievalTask> Generate(const RetrievalOptions& options, uint64_t seed) const;

  // The words that keys and values are drawn from, without their leading
  // space, sorted.
  const std::vector<std::string>& words() const { return words_; }

 private:
  struct Sentence {
    std::string text;  // With a leading space.
    size_t tokens = 0;
  };

  RetrievalTaskGenerator() = default;

  CountTokens count_tokens_;
  std::vector<Sentence> sentences_;
  std::vector<std::string> words_;
  // Tokens of " ; key value .", without the words' two.
  size_t needle_frame_tokens_ = 0;
};

// Splits a paragraph at sentence ends. Every sentence starts with a space.
// Exposed for tests.
std::vector<std::string> SplitSentences(absl::string_view paragraph);

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_RETRIEVAL_TASK_H_
