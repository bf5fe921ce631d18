// In-model evaluation: the model answers questions and reads text from a cache that a policy made
// smaller.
//
// The protocol is query-agnostic: a context is prefilled once, its cache is copied for every
// (policy, budget), the entries beyond the budget are removed and their memory freed, and only then
// come the questions, which no policy saw. All questions of a prompt run in one teacher-forced
// pass, question and right answer in turn, as in the traces: a question can see the questions
// before it, but no answer of its own, since an answer that occurs earlier is refused
// (CheckPrompt). An answer is one token, right if it is the likeliest.
//
// Perplexity is read the same way, from the text that follows a compressed context; the first token
// of that text is not counted, since the whole cache predicts it.

#ifndef KVP_EVAL_IN_MODEL_H_
#define KVP_EVAL_IN_MODEL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "eval/bootstrap.h"
#include "eval/prompts.h"
#include "eval/results.h"
#include "llm/decoder.h"
#include "policy/policy.h"
#include "policy/selection.h"

namespace kvp {

struct InModelOptions {
  std::vector<double> budgets = {0.5, 0.25, 0.125, 0.0625};
  ProtectedTokens protected_tokens;
  // The tokens of kReplayPrompt (eval/context_replay.h), for policies that repeat the context.
  std::vector<int32_t> replay_prompt;
  // Prompts that run at the same time, one thread each.
  int64_t threads = 1;
  // Costs are measured after that, alone and on one thread, on this many prompts (or text windows
  // where there are no prompts), decoding this many tokens of each.
  int64_t timed_sequences = 5;
  int64_t timed_decode_tokens = 16;
  BootstrapOptions bootstrap;
  // Called with the sequences done and their number; from any thread, one call at a time. May be
  // null.
  std::function<void(int64_t, int64_t)> progress;
};

struct InModelResults {
  std::vector<std::pair<std::string, ByBudget<CacheResult>>> policies;
  CacheResult full_cache;
  double prefill_ms = 0;      // median over the timed sequences
  double context_tokens = 0;  // mean over prompts
};

// Runs every prompt and window under every policy and budget, and with the whole cache. The
// oracle's importance comes from one pass over the continuation with the whole cache; what other
// policies need is gathered during the prefill, or in a second pass, and what that costs is part of
// their score_ms. What is
// random depends on the sequences' seeds alone, so that results but for times don't depend on
// threads.
//
// INVALID_ARGUMENT where there is neither a prompt nor a window, for a budget outside (0, 1] or a
// prompt that CheckPrompt refuses; errors of the decoder and the policies, naming the policy;
// INTERNAL where a compressed cache doesn't have the budget's size.
absl::StatusOr<InModelResults> EvaluateInModel(const Decoder& decoder,
                                               const std::vector<EvaluationPrompt>& prompts,
                                               const std::vector<TextWindow>& windows,
                                               const std::vector<const Policy*>& policies,
                                               const InModelOptions& options);

}  // namespace kvp

#endif  // KVP_EVAL_IN_MODEL_H_
