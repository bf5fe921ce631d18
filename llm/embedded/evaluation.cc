#include "llm/embedded/evaluation.h"

#include <algorithm>

#include "llm/embedded/bigram_model.h"
#include "llm/embedded/curriculum.h"
#include "llm/embedded/model_export.h"
#include "llm/embedded/retrieval_task.h"
#include "util/status_macros.h"

namespace kvp {

absl::StatusOr<EmbeddedEvaluation> EvaluateEmbeddedModel(
    const TrainingModel& model, const Tokenizer& tokenizer, const std::string& held_out,
    const std::vector<std::vector<int32_t>>& training_tokens, const EvaluationOptions& options) {
  EmbeddedEvaluation result;
  TrainingModel::Workspace workspace;
  const auto run = [&](const TrainingSequence& sequence) {
    return model.ForwardBackward({&sequence}, {}, nullptr, &workspace);
  };

  ASSIGN_OR_RETURN(const RetrievalTaskGenerator generator,
                   RetrievalTaskGenerator::Create(held_out, [&tokenizer](absl::string_view text) {
                     return tokenizer.Encode(text).size();
                   }));
  RetrievalOptions task_options;
  task_options.questions = options.questions;
  LossSums recall;
  for (int i = 0; i < options.prompts; ++i) {
    ASSIGN_OR_RETURN(const RetrievalTask task, generator.Generate(task_options, options.seed + i));
    recall.Add(run(SequenceFromTask(task, tokenizer)));
  }
  result.recall = recall.Accuracy(TargetKind::kAnswer);
  result.questions = recall.targets[static_cast<int>(TargetKind::kAnswer)];

  BigramModel bigram(tokenizer.vocab_size());
  for (const std::vector<int32_t>& tokens : training_tokens) {
    bigram.Add(tokens);
  }
  const std::vector<int32_t> text = tokenizer.Encode(held_out);
  LossSums natural;
  double bigram_nats = 0;
  const size_t window = kEmbeddedContextTokens;
  for (int w = 0; w < options.max_text_windows; ++w) {
    if ((w + 1) * window > text.size()) break;
    TrainingSequence sequence;
    sequence.tokens.assign(text.begin() + w * window, text.begin() + (w + 1) * window);
    sequence.kinds.assign(window, TargetKind::kText);
    natural.Add(run(sequence));
    for (size_t t = 0; t + 1 < window; ++t) {
      bigram_nats += bigram.Nats(sequence.tokens[t], sequence.tokens[t + 1]);
    }
  }
  result.nats_per_token = natural.MeanNats(TargetKind::kText);
  result.text_tokens = natural.targets[static_cast<int>(TargetKind::kText)];
  result.bigram_nats_per_token = bigram_nats / std::max<int64_t>(result.text_tokens, 1);
  return result;
}

}  // namespace kvp
