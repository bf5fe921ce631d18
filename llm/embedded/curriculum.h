// The order in which the embedded model learns: copying, then needles without
// filler, then needles in ever longer text.
//
// Recall needs a head that attends to the token after an earlier occurrence of
// the current one. Such heads form abruptly, and only where nearly every token
// rewards them: sequences that repeat random words. From then on every stage
// is learnt quickly; without the first one recall doesn't come in hours.

#ifndef KVP_LLM_EMBEDDED_CURRICULUM_H_
#define KVP_LLM_EMBEDDED_CURRICULUM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llm/embedded/retrieval_task.h"
#include "llm/embedded/training_model.h"
#include "llm/tokenizer.h"

namespace kvp {

struct CurriculumStage {
  std::string name;
  // Needle sequences: context, then a question for every needle. No needle
  // sequences where needles is 0.
  int context_tokens = 0;
  int needles = 0;
  // Length of plain text and of copying sequences.
  int text_tokens = 0;
  int copy_tokens = 96;
  // Shares of a batch's sequences' tokens; the rest are needle sequences.
  double copy_share = 0;
  double text_share = 0;
  // Share of the needle sequences that have a shorter context.
  double shorter_share = 0;
  int batch_tokens = 0;
  // The stage ends when the mean accuracy of its task passes this...
  double leave_accuracy = 2;
  // ... or after this many steps.
  int max_steps = 0;
};

// The stages in order; the last never ends by itself.
std::vector<CurriculumStage> EmbeddedCurriculum();

// Makes training batches. Immutable; thread-safe.
class Curriculum {
 public:
  // `novels` are the training texts, one paragraph a line. `tokenizer` must
  // outlive the curriculum.
  static absl::StatusOr<Curriculum> Create(const std::vector<std::string>& novels,
                                           const Tokenizer& tokenizer, uint64_t seed);

  // The sequences of one step: a function of the stage, the step and the seed
  // alone.
  absl::StatusOr<std::vector<TrainingSequence>> MakeBatch(const CurriculumStage& stage,
                                                          int64_t step) const;

  // All training tokens of the novels one behind the other.
  const std::vector<std::vector<int32_t>>& novel_tokens() const { return novel_tokens_; }

 private:
  Curriculum(const Tokenizer& tokenizer, uint64_t seed) : tokenizer_(&tokenizer), seed_(seed) {}

  TrainingSequence CopySequence(int tokens, SplitMix64* random) const;
  TrainingSequence TextSequence(int tokens, SplitMix64* random) const;
  absl::StatusOr<TrainingSequence> NeedleSequence(const CurriculumStage& stage,
                                                  SplitMix64* random) const;

  const Tokenizer* tokenizer_;
  uint64_t seed_;
  std::vector<std::vector<int32_t>> novel_tokens_;
  std::vector<RetrievalTaskGenerator> generators_;  // One a novel.
  std::vector<int32_t> words_;
};

// Turns a task into a sequence: filler counts as text, needles and questions
// are ignored, answers count as answers.
TrainingSequence SequenceFromTask(const RetrievalTask& task, const Tokenizer& tokenizer);

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_CURRICULUM_H_
