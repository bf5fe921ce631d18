// ContextWatch: everything that some policies need to know of a context, beside its cache.

#ifndef KVP_EVAL_CONTEXT_WATCH_H_
#define KVP_EVAL_CONTEXT_WATCH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "eval/query_observer.h"
#include "llm/decoder.h"
#include "llm/kv_cache.h"
#include "policy/policy.h"
#include "policy/policy_input.h"

namespace kvp {

// For one context; to be made before its prefill. Not thread-safe.
class ContextWatch {
 public:
  // Gathers what any of `policies` needs. `replay_prompt`: the tokens of kReplayPrompt. Refers to
  // the decoder.
  ContextWatch(const Decoder& decoder, absl::Span<const Policy* const> policies,
               std::vector<int32_t> replay_prompt);

  // To watch the prefill with; null where nobody needs it.
  AttentionObserver* observer() { return queries_.get(); }

  // What can be known once `cache` holds the context and nothing was removed; the future
  // importance isn't. Repeats the context where a policy needs that. Errors of InputOfCache and
  // ReplayAttention.
  absl::StatusOr<PolicyInput> Input(absl::Span<const int32_t> context, const KvCache& cache,
                                    uint64_t sequence_seed) const;

 private:
  const Decoder& decoder_;
  std::unique_ptr<QueryObserver> queries_;
  bool replays_ = false;
  std::vector<int32_t> replay_prompt_;
};

}  // namespace kvp

#endif  // KVP_EVAL_CONTEXT_WATCH_H_
