// A policy's ranking turned into a smaller KV cache.

#ifndef KVP_EVAL_COMPRESSION_H_
#define KVP_EVAL_COMPRESSION_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/kv_cache.h"
#include "policy/policy.h"
#include "policy/policy_input.h"
#include "policy/selection.h"

namespace kvp {

// The entries of all heads of `cache`, layer-major, as fp32 copies on the cache's device;
// importance is left undefined. FAILED_PRECONDITION where the cache is empty or its heads' lengths
// differ (entries were removed before).
absl::StatusOr<PolicyInput> InputOfCache(const KvCache& cache, uint64_t sequence_seed);

// Keeps, of every head, its highest-scored entries, the protected ones first, and frees the others:
// `budget` is the share of all entries that stays, and the policy says how it is spread over heads
// (Policy::HeadBudgets). `input` and `scores` [layers * kv_heads, entries] are those of `cache`,
// layer-major.
//
// INVALID_ARGUMENT for a budget outside (0, 1] or scores of another shape; INTERNAL where a head
// ends up with another number of entries than its budget, or all of them with more or fewer than
// they should.
absl::Status CompressCache(const Policy& policy, const PolicyInput& input, const at::Tensor& scores,
                           double budget, const ProtectedTokens& protected_tokens, KvCache& cache);

}  // namespace kvp

#endif  // KVP_EVAL_COMPRESSION_H_
