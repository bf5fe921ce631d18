// A bigram language model: the yardstick for the embedded model's perplexity.

#ifndef KVP_LLM_EMBEDDED_BIGRAM_MODEL_H_
#define KVP_LLM_EMBEDDED_BIGRAM_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace kvp {

// Interpolated Kneser-Ney smoothing with one discount: the strongest usual
// bigram model. A token's share of the back-off mass is the number of
// different tokens it follows.
class BigramModel {
 public:
  explicit BigramModel(int vocabulary);

  // Adds the bigrams of a text.
  void Add(const std::vector<int32_t>& tokens);

  // -log P(next | previous), in nats.
  double Nats(int32_t previous, int32_t next) const;

 private:
  std::vector<int64_t> previous_counts_;  // Occurrences as the first token.
  std::vector<int64_t> followers_;        // Different tokens after it.
  std::vector<int64_t> predecessors_;     // Different tokens before it.
  absl::flat_hash_map<int64_t, int64_t> bigram_counts_;
};

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_BIGRAM_MODEL_H_
