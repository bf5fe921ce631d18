// Measures agents and heuristics on the held-out traces.

#ifndef KVP_TRAINER_HELD_OUT_EVALUATOR_H_
#define KVP_TRAINER_HELD_OUT_EVALUATOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "policy/policy.h"
#include "trainer/fetch_threads.h"
#include "trainer/group_trainer.h"
#include "trainer/prefetcher.h"
#include "trainer/process_grid.h"
#include "trainer/trace_cache.h"
#include "trainer/trace_set.h"

namespace kvp {

// Goes through a rank's groups, and in each through its replica's share of the contexts. Not
// thread-safe.
class HeldOutEvaluator {
 public:
  // The contexts are `count` of `traces`, spread evenly, or all of them where it is 0. The pointers
  // must outlive it.
  HeldOutEvaluator(TraceReader* reader, const TraceSet* traces, int64_t count,
                   const ProcessGrid& grid, TraceCache* cache, FetchThreads* threads,
                   const Prefetcher::Options& options);

  int64_t contexts() const { return static_cast<int64_t>(contexts_.size()); }

  // Sums of GroupTrainer::Measure over this replica's contexts, of each group.
  absl::StatusOr<std::vector<at::Tensor>> MeasureAgents(
      absl::Span<const std::unique_ptr<GroupTrainer>> groups);
  // The same of one policy after another: fp64 [heads, policies * (2 + budgets)]. A policy that
  // can't score the contexts (it may need what traces lack) has no contexts counted.
  absl::StatusOr<std::vector<at::Tensor>> MeasurePolicies(
      absl::Span<const std::unique_ptr<GroupTrainer>> groups,
      absl::Span<const std::unique_ptr<Policy>> policies);

  // Begins to read what the next call needs.
  void ReadAhead() { prefetcher_->ReadAhead(); }
  const Prefetcher& prefetcher() const { return *prefetcher_; }

 private:
  template <typename Measure>
  absl::StatusOr<std::vector<at::Tensor>> ForAll(
      absl::Span<const std::unique_ptr<GroupTrainer>> groups, Measure measure);
  Portion PortionOf(int64_t number) const;

  const TraceSet* const traces_;
  const std::vector<HeadRange> groups_;
  std::vector<Context> contexts_;      // of all replicas
  std::vector<Context> own_contexts_;  // of this one
  int64_t portions_of_group_ = 1;
  std::unique_ptr<Prefetcher> prefetcher_;
};

// The policies that look at keys, values and positions alone and need no training: those that
// agents compare with like for like.
std::vector<std::unique_ptr<Policy>> HeuristicPolicies();

}  // namespace kvp

#endif  // KVP_TRAINER_HELD_OUT_EVALUATOR_H_
