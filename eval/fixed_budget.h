// FixedBudget: a KV cache that never holds more than so many entries of a head, however long its
// sequence gets.

#ifndef KVP_EVAL_FIXED_BUDGET_H_
#define KVP_EVAL_FIXED_BUDGET_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/kv_cache.h"
#include "policy/policy.h"
#include "policy/selection.h"

namespace kvp {

// Scores each entry once, when it is new, and removes the lowest-scored ones beyond the budget; of
// equal scores the later one leaves. Protected are the sequence's first positions and the most
// recent ones. Memory and the time for a token don't depend on the sequence's length: a score and a
// position for each entry that is kept, and a pass over them.
//
// Of one sequence. Refers to the policy. Not thread-safe.
class FixedBudget {
 public:
  struct Options {
    int64_t budget_tokens = 0;  // entries of each head
    ProtectedTokens protected_tokens;
    std::vector<double> rope_frequencies;  // PolicyInput's
    uint64_t sequence_seed = 0;
  };

  // INVALID_ARGUMENT, naming the policy, where its scores depend on more than the entry
  // (PolicyInfo::scores_once), and for a budget that doesn't hold the protected entries.
  static absl::StatusOr<FixedBudget> Create(const Policy* policy, Options options);

  // To be called after each forward pass through `cache`, from its first on: what came since the
  // last call is scored, and each head cut back to the budget. After one token an entry leaves in
  // place (KvCache::Remove); after more, what stays is copied and the rest freed.
  //
  // FAILED_PRECONDITION where entries were removed by others; INTERNAL where a head ends up with
  // another number of entries than the budget allows; errors of the policy.
  absl::Status Update(KvCache& cache);

 private:
  // One head's entries, in the cache's order.
  struct Head {
    std::vector<double> scores;
    std::vector<int64_t> positions;
  };

  FixedBudget(const Policy* policy, Options options);
  absl::StatusOr<PolicyInput> NewEntries(const KvCache& cache) const;
  absl::Status CutBack(int64_t layer, int64_t kv_head, Head& head, KvCache& cache) const;
  // Whether entry a of the head stays longer than b.
  bool StaysLonger(const Head& head, int64_t a, int64_t b) const;

  const Policy* policy_;
  Options options_;
  std::vector<Head> heads_;  // layer-major
  int64_t seen_ = 0;         // positions that were scored
};

}  // namespace kvp

#endif  // KVP_EVAL_FIXED_BUDGET_H_
