// How many entries each head keeps, where their mean is given.
//
// All functions return one number for each head, at least 1 and at most the number of entries,
// whose mean over the heads (over each layer's, where said) is `mean` exactly.

#ifndef KVP_POLICY_HEAD_BUDGETS_H_
#define KVP_POLICY_HEAD_BUDGETS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "policy/selection.h"
#include "util/head_split.h"

namespace kvp {

// The same for all heads of a layer, falling linearly over the layers from 2B − B/20 to B/20, B
// being `mean`: Cai et al., "PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information
// Funneling" (2024). Where the first layers would keep more than the `tokens` entries that there
// are, they keep these, and the last ones more than B/20. `layers`: of the model, above every
// head's layer; the mean holds over all of them. 1 <= mean <= tokens.
std::vector<int64_t> PyramidBudgets(const std::vector<HeadId>& heads, int64_t layers,
                                    int64_t tokens, int64_t mean);

// Heads compete for the budget of their group: the `guarded` share of the mean, and at least one
// entry, is every head's own; of all other entries of the group's heads, the highest-scored ones
// are kept, protected ones (selection.h) first. Scores of different heads must compare. With the
// heads of a layer as a group and a guarded share of 0.2 this is Feng et al., "Ada-KV: Optimizing
// KV Cache Eviction by Adaptive Budget Allocation for Efficient LLM Inference" (2024); with all
// heads and nothing guarded it is the allocation of KVzip (Kim et al., 2025).
//
// scores [heads, tokens]; groups[h] names head h's group. 1 <= mean <= tokens. Each group's mean
// is `mean`.
std::vector<int64_t> CompetitiveBudgets(const at::Tensor& scores,
                                        const std::vector<int64_t>& groups, int64_t mean,
                                        double guarded, const ProtectedTokens& protected_tokens);

}  // namespace kvp

#endif  // KVP_POLICY_HEAD_BUDGETS_H_
