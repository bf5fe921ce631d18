// From scores to the entries that stay: budgets and protected tokens.

#ifndef KVP_POLICY_SELECTION_H_
#define KVP_POLICY_SELECTION_H_

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"

namespace kvp {

// Entries kept whatever their score, as in the paper's inference (Moschella et al., 2026): the
// first and the last ones.
struct ProtectedTokens {
  int64_t sinks = 4;
  int64_t recent = 16;
};

// Entries that a budget, as a fraction of `tokens`, allows: round(fraction * tokens), at least 1.
// INVALID_ARGUMENT unless 0 < fraction <= 1.
absl::StatusOr<int64_t> BudgetTokens(double fraction, int64_t tokens);

// Ranks entries by descending score with the protected ones before all others; ties go to the
// earlier entry. scores fp32 [heads, tokens]; returns int64 [heads, tokens]: ranking[h, r] is the
// index of the entry of rank r. Any budget b keeps ranking[h, :b].
at::Tensor Ranking(const at::Tensor& scores, const ProtectedTokens& protected_tokens);

// The `budget` highest-ranked entries of each head, ascending: int64 [heads, budget].
// INVALID_ARGUMENT unless 1 <= budget <= tokens.
absl::StatusOr<at::Tensor> SelectKept(const at::Tensor& scores, int64_t budget,
                                      const ProtectedTokens& protected_tokens);

}  // namespace kvp

#endif  // KVP_POLICY_SELECTION_H_
