#include "eval/context_watch.h"

#include <utility>

#include "eval/compression.h"
#include "eval/context_replay.h"
#include "util/status_macros.h"

namespace kvp {

ContextWatch::ContextWatch(const Decoder& decoder, absl::Span<const Policy* const> policies,
                           std::vector<int32_t> replay_prompt)
    : decoder_(decoder), replay_prompt_(std::move(replay_prompt)) {
  QueryStatistics::Wanted wanted;
  bool reads_queries = false;
  for (const Policy* policy : policies) {
    const PolicyInfo& info = policy->info();
    wanted.recent |= info.recent_queries;
    wanted.moments |= info.query_moments;
    wanted.attention_sums |= info.attention_sums;
    reads_queries |= info.reads_queries();
    replays_ |= info.replay_attention;
  }
  if (reads_queries) queries_ = std::make_unique<QueryObserver>(decoder, wanted);
}

absl::StatusOr<PolicyInput> ContextWatch::Input(absl::Span<const int32_t> context,
                                                const KvCache& cache,
                                                uint64_t sequence_seed) const {
  ASSIGN_OR_RETURN(PolicyInput input, InputOfCache(cache, sequence_seed));
  input.rope_frequencies = decoder_.rope_frequencies();
  if (queries_ != nullptr) input.queries = queries_->Observed();
  if (replays_) {
    ASSIGN_OR_RETURN(input.replay_attention,
                     ReplayAttention(decoder_, context, cache, replay_prompt_));
  }
  return input;
}

}  // namespace kvp
