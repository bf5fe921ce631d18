#include "trainer/batch_order.h"

#include <map>
#include <set>
#include <utility>

#include "trainer/synthetic_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

TraceSet Traces(int32_t count, int cuts = 2) {
  SyntheticTraceSpec spec;
  spec.traces = count;
  std::vector<TraceRecord> records;
  for (SyntheticTrace& trace : MakeSyntheticTraces(spec)) {
    trace.record.clear_cuts();
    for (int cut = 0; cut < cuts; ++cut) trace.record.add_cuts(5 * cut + 5);
    records.push_back(trace.record);
  }
  return TraceSet::Create(records).value();
}

std::vector<std::pair<int64_t, int64_t>> Sequence(BatchOrder& order, int64_t begin, int64_t end) {
  std::vector<std::pair<int64_t, int64_t>> sequence;
  for (int64_t step = begin; step < end; ++step) {
    for (const Context& context : order.Batch(step)) {
      sequence.push_back({context.trace, context.cut_number});
    }
  }
  return sequence;
}

TEST(BatchOrderTest, EachEpochHasEveryTraceOnceInAnOrderOfItsOwn) {
  const TraceSet traces = Traces(12);
  BatchOrder order(traces, 4, 1);
  std::vector<std::vector<int64_t>> epochs(2);
  for (int64_t step = 0; step < 6; ++step) {
    for (const Context& context : order.Batch(step)) epochs[step / 3].push_back(context.trace);
  }
  for (const std::vector<int64_t>& epoch : epochs) {
    EXPECT_EQ(std::set<int64_t>(epoch.begin(), epoch.end()).size(), 12u);
  }
  EXPECT_NE(epochs[0], epochs[1]);
}

TEST(BatchOrderTest, EveryCutOfATraceComesOnceInAsManyEpochsAsItHasCuts) {
  const TraceSet traces = Traces(6, 5);
  BatchOrder order(traces, 6, 7);
  for (const int64_t cycle : {0, 1}) {
    std::map<std::pair<int64_t, int64_t>, int> seen;
    for (const auto& context : Sequence(order, 5 * cycle, 5 * cycle + 5)) ++seen[context];
    EXPECT_EQ(seen.size(), 30u);
  }
  // Not all traces' cuts in the same order.
  std::set<int64_t> cuts_of_first_epoch;
  for (const auto& [trace, cut] : Sequence(order, 0, 1)) cuts_of_first_epoch.insert(cut);
  EXPECT_GT(cuts_of_first_epoch.size(), 1u);
}

TEST(BatchOrderTest, AStepIsTheSameWheneverItIsAskedFor) {
  const TraceSet traces = Traces(7, 3);
  BatchOrder in_order(traces, 4, 5);
  const auto all = Sequence(in_order, 0, 9);
  BatchOrder resumed(traces, 4, 5);
  EXPECT_EQ(Sequence(resumed, 6, 9), std::vector(all.begin() + 6 * 4, all.end()));
  EXPECT_EQ(Sequence(resumed, 0, 9), all);
  BatchOrder other_seed(traces, 4, 6);
  EXPECT_NE(Sequence(other_seed, 0, 9), all);
}

TEST(BatchOrderTest, ABatchMayBeLargerThanAllTraces) {
  const TraceSet traces = Traces(3);
  BatchOrder order(traces, 10, 1);
  std::map<int64_t, int> seen;
  for (const Context& context : order.Batch(2)) ++seen[context.trace];
  EXPECT_EQ(seen.size(), 3u);
  for (const auto& [trace, count] : seen) EXPECT_GE(count, 3);
}

}  // namespace
}  // namespace kvp
