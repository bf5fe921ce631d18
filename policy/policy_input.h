// What an eviction policy may look at.

#ifndef KVP_POLICY_POLICY_INPUT_H_
#define KVP_POLICY_POLICY_INPUT_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "util/head_split.h"

namespace kvp {

// Queries of a sequence's last tokens that are kept for the policies that look at them.
constexpr int64_t kRecentQueries = 64;
// The first queries say little of those to come, since a model uses its first tokens as sinks of
// attention: statistics leave so many out.
constexpr int64_t kSkippedQueries = 4;

// What the queries of a sequence showed while its entries were made; query heads are grouped by
// their KV head. Tensors that nobody needed are undefined.
struct ObservedQueries {
  // fp32 [heads, group, n, head_dim], post-RoPE: of the last n = min(tokens, kRecentQueries)
  // tokens.
  at::Tensor recent;
  // fp32 [heads, tokens]: the attention that an entry got from all queries, summed over them, mean
  // over the group.
  at::Tensor attention_sums;
  // fp32 [heads, group, head_dim] and [heads, group, head_dim, head_dim]: of the queries before
  // their rotation, the first kSkippedQueries left out; zero where there are no others.
  at::Tensor means;
  at::Tensor covariances;
  // Factor of q · k before the softmax.
  double scale = 0;
  // The sliding window of each head's layer, 0 for none: a query at position p sees the entries at
  // positions above p − window.
  std::vector<int64_t> windows;
};

// The cache entries of several KV heads of one model, all of the same number of tokens.
struct PolicyInput {
  // Which heads they are, in the tensors' order.
  std::vector<HeadId> heads;
  // fp32 [heads, tokens, head_dim]; K is post-RoPE.
  at::Tensor keys;
  at::Tensor values;
  // int64 [tokens]: sequence positions, ascending.
  at::Tensor positions;
  // The model's rotary frequencies (Decoder::rope_frequencies); empty where keys aren't rotated.
  std::vector<double> rope_frequencies;
  // Layers of the model; 0: the heads' last one is the model's.
  int64_t layers = 0;
  // Seeds what is random, so that a run can be repeated: a number that names the sequence.
  uint64_t sequence_seed = 0;

  // The following are undefined where they aren't known; PolicyInfo says who needs them.
  ObservedQueries queries;
  // fp32 [heads, tokens]: the largest attention that an entry got when the model was made to repeat
  // the sequence, over those queries and the group.
  at::Tensor replay_attention;
  // fp32 [heads, tokens]: what the entries turn out to be worth to the tokens that follow
  // (util/future_importance.h).
  at::Tensor importance;
};

}  // namespace kvp

#endif  // KVP_POLICY_POLICY_INPUT_H_
