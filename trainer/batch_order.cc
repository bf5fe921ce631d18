#include "trainer/batch_order.h"

#include <numeric>
#include <utility>

#include "policy/seeded_random.h"

namespace kvp {
namespace {

// Names what a number is drawn for, beside the seed.
enum RandomUse : uint64_t { kOrderOfTraces = 3, kOrderOfCuts = 4 };

// Fisher and Yates; random(k) is any number.
template <typename Random>
void ShuffleBy(Random random, std::vector<int64_t>& numbers) {
  std::iota(numbers.begin(), numbers.end(), 0);
  for (uint64_t k = numbers.size() - 1; k > 0; --k) {
    std::swap(numbers[k], numbers[random(k) % (k + 1)]);
  }
}

}  // namespace

BatchOrder::BatchOrder(const TraceSet& traces, int64_t batch, uint64_t seed)
    : traces_(traces), batch_(batch), seed_(seed), order_(traces.size()) {}

void BatchOrder::Shuffle(int64_t epoch) {
  if (epoch == shuffled_epoch_) return;
  shuffled_epoch_ = epoch;
  ShuffleBy(
      [&](uint64_t k) {
        return MixSeed({seed_, kOrderOfTraces, static_cast<uint64_t>(epoch), k});
      },
      order_);
}

Context BatchOrder::ContextOf(int64_t trace, int64_t epoch) const {
  const int64_t begin = traces_.contexts_begin(trace);
  const int64_t cuts = traces_.contexts_end(trace) - begin;
  std::vector<int64_t> order(cuts);
  ShuffleBy(
      [&](uint64_t k) {
        return MixSeed({seed_, kOrderOfCuts, static_cast<uint64_t>(trace),
                        static_cast<uint64_t>(epoch / cuts), k});
      },
      order);
  return traces_.contexts()[begin + order[epoch % cuts]];
}

std::vector<Context> BatchOrder::Batch(int64_t step) {
  std::vector<Context> contexts;
  for (int64_t i = step * batch_; i < (step + 1) * batch_; ++i) {
    const int64_t epoch = i / traces_.size();
    Shuffle(epoch);
    contexts.push_back(ContextOf(order_[i % traces_.size()], epoch));
  }
  return contexts;
}

}  // namespace kvp
