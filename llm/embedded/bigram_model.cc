#include "llm/embedded/bigram_model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace kvp {
namespace {

constexpr double kDiscount = 0.75;

}  // namespace

BigramModel::BigramModel(int vocabulary)
    : previous_counts_(vocabulary), followers_(vocabulary), predecessors_(vocabulary) {}

void BigramModel::Add(const std::vector<int32_t>& tokens) {
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    const int64_t key = tokens[t] * static_cast<int64_t>(followers_.size()) + tokens[t + 1];
    if (++bigram_counts_[key] == 1) {
      ++followers_[tokens[t]];
      ++predecessors_[tokens[t + 1]];
    }
    ++previous_counts_[tokens[t]];
  }
}

double BigramModel::Nats(int32_t previous, int32_t next) const {
  const double vocabulary = followers_.size();
  // One more predecessor for every token leaves none at zero.
  const double backoff = (predecessors_[next] + 1) / (bigram_counts_.size() + vocabulary);
  const double occurrences = previous_counts_[previous];
  if (occurrences == 0) return -std::log(backoff);
  const auto found = bigram_counts_.find(previous * static_cast<int64_t>(vocabulary) + next);
  const double count = found == bigram_counts_.end() ? 0 : found->second;
  return -std::log(std::max(count - kDiscount, 0.0) / occurrences +
                   kDiscount * followers_[previous] / occurrences * backoff);
}

}  // namespace kvp
