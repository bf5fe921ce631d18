#include "policy/head_budgets.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

namespace kvp {
namespace {

// PyramidKV's beta: the last layer keeps so much less than the mean.
constexpr double kSteepness = 20;

// An entry that no head owns yet.
struct Contender {
  bool is_protected = false;
  double score = 0;
  int64_t rank = 0;  // within its head
  size_t head = 0;

  // Whether it is kept before `other`.
  bool operator<(const Contender& other) const {
    if (is_protected != other.is_protected) return is_protected;
    // Protected entries are taken in their heads' order, not by what they score.
    if (!is_protected && score != other.score) return score > other.score;
    return std::tie(rank, head) < std::tie(other.rank, other.head);
  }
};

}  // namespace

std::vector<int64_t> PyramidBudgets(const std::vector<HeadId>& heads, int64_t layers,
                                    int64_t tokens, int64_t mean) {
  const double middle = static_cast<double>(mean);
  const double least = std::max(1.0, middle / kSteepness);
  const double most = std::min(2 * middle - least, static_cast<double>(tokens));
  const double slope = layers > 1 ? 2 * (most - middle) / static_cast<double>(layers - 1) : 0;
  // The budgets of all layers before `layer`, rounded: differences add up to what they should.
  const auto before = [&](int64_t layer) {
    const double n = static_cast<double>(layer);
    const double first = layers > 1 ? most : middle;
    return std::llround(n * first - slope * n * (n - 1) / 2);
  };
  std::vector<int64_t> budgets;
  for (const HeadId head : heads) {
    budgets.push_back(std::clamp<int64_t>(before(head.layer + 1) - before(head.layer), 1, tokens));
  }
  return budgets;
}

std::vector<int64_t> CompetitiveBudgets(const at::Tensor& scores,
                                        const std::vector<int64_t>& groups, int64_t mean,
                                        double guarded, const ProtectedTokens& protected_tokens) {
  const int64_t tokens = scores.size(1);
  const int64_t own =
      std::clamp<int64_t>(static_cast<int64_t>(guarded * static_cast<double>(mean)), 1, mean);
  const int64_t protected_count =
      std::min(tokens, protected_tokens.sinks + protected_tokens.recent);
  const at::Tensor ranking = Ranking(scores, protected_tokens);
  const at::Tensor sorted = scores.to(at::kDouble).gather(1, ranking).cpu().contiguous();

  std::map<int64_t, std::vector<Contender>> contenders;
  std::map<int64_t, int64_t> left;  // of each group's budget
  for (size_t head = 0; head < groups.size(); ++head) {
    left[groups[head]] += mean - own;
    const double* score = sorted.data_ptr<double>() + static_cast<int64_t>(head) * tokens;
    for (int64_t rank = own; rank < tokens; ++rank) {
      const double value = std::isnan(score[rank]) ? -INFINITY : score[rank];
      contenders[groups[head]].push_back({rank < protected_count, value, rank, head});
    }
  }
  std::vector<int64_t> budgets(groups.size(), own);
  for (auto& [group, entries] : contenders) {
    const auto end = entries.begin() + left[group];
    if (end != entries.end()) std::nth_element(entries.begin(), end, entries.end());
    for (auto it = entries.begin(); it != end; ++it) ++budgets[it->head];
  }
  return budgets;
}

}  // namespace kvp
