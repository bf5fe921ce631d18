#include "trainer/training_run.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "trainer/synthetic_traces.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

SyntheticTraceSpec Spec() {
  SyntheticTraceSpec spec;
  spec.traces = 6;
  return spec;
}

TrainingOptions Options() {
  TrainingOptions options;
  options.group.gradient.shape.width = 16;
  options.group.gradient.seed = 3;
  options.group.optimizer.steps = 60;
  options.group.optimizer.learning_rate = 0.01;
  options.group.optimizer.warmup_steps = 5;
  options.group_size = 2;
  options.batch = 4;
  options.eval_every = 20;
  return options;
}

absl::StatusOr<TrainingResult> TrainOn(const TrainingOptions& options, TraceReader& store,
                                       bool stop_at_once = false) {
  const std::unique_ptr<Communicator> alone = NewSingleCommunicator();
  const std::atomic<bool> stop{stop_at_once};
  return Train(options, store, *alone, stop);
}

absl::StatusOr<TrainingResult> TrainAlone(const TrainingOptions& options) {
  return TrainOn(options, *SyntheticStore(Spec()));
}

void ExpectSameAgents(const TrainingResult& result, const TrainingResult& expected) {
  for (const auto& [name, tensor] : expected.agents.parameters) {
    EXPECT_TRUE(at::equal(result.agents.parameters.at(name), tensor)) << name;
  }
  EXPECT_EQ(result.held_out_cost, expected.held_out_cost);
  EXPECT_EQ(result.best_steps, expected.best_steps);
}

// Makes all values of a head in training traces bf16's quiet NaN.
void SpoilHead(HeadId head, std::vector<SyntheticTrace>& traces) {
  for (SyntheticTrace& trace : traces) {
    for (HeadBlock& block : trace.blocks) {
      if (block.key.head != head) continue;
      for (size_t i = 0; i < block.values.size(); i += 2) {
        block.values[i] = static_cast<char>(0xC0);
        block.values[i + 1] = 0x7F;
      }
    }
  }
}

std::vector<SyntheticTrace> Traces(const std::string& split) {
  SyntheticTraceSpec spec = Spec();
  spec.split = split;
  return MakeSyntheticTraces(spec);
}

std::string FreshFolder(const std::string& name) {
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  std::filesystem::remove_all(path);
  return path;
}

TEST(TrainingRunTest, EveryObjectiveLearnsToRankHeldOutTraces) {
  for (const char* objective : {"exact", "rloo", "log_rank", "exact+log_rank"}) {
    TrainingOptions options = Options();
    options.objective.name = objective;
    options.group.optimizer.steps = 1;
    ASSERT_OK_AND_ASSIGN(const TrainingResult untrained, TrainAlone(options));
    options.group.optimizer.steps = 100;
    ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainAlone(options));
    EXPECT_LT(result.agents.held_out_cost - 1, (untrained.agents.held_out_cost - 1) * 0.4)
        << objective;
    EXPECT_EQ(result.held_out_cost.size(), 4u);
    EXPECT_TRUE(result.stopped_heads.empty());
    for (size_t b = 1; b < result.retained[0].size(); ++b) {
      EXPECT_LE(result.retained[0][b], result.retained[0][b - 1]);
    }
  }
}

TEST(TrainingRunTest, AgentsDependOnNeitherCacheNorPrefetchNorTheStoresSpeed) {
  TrainingOptions options = Options();
  options.group.optimizer.steps = 25;
  ASSERT_OK_AND_ASSIGN(const TrainingResult expected, TrainAlone(options));
  const std::unique_ptr<MemoryTraceReader> store = SyntheticStore(Spec());
  // A fraction of a trace: everything is read in every epoch.
  options.data = {/*cache_bytes=*/0, /*prefetch_bytes=*/0, /*fetch_threads=*/3};
  store->set_delay(absl::Milliseconds(2));
  ASSERT_OK_AND_ASSIGN(const TrainingResult streamed, TrainOn(options, *store));
  ExpectSameAgents(streamed, expected);
  // Nothing hides the first read.
  EXPECT_GT(streamed.waiting_seconds, 0.002);
  // 25 steps of 4 traces, and three evaluations.
  EXPECT_GT(store->reads(), 4 * 100);
  const std::unique_ptr<MemoryTraceReader> small = SyntheticStore(Spec());
  options.data.cache_bytes = 20000;
  ASSERT_OK_AND_ASSIGN(const TrainingResult partly, TrainOn(options, *small));
  ExpectSameAgents(partly, expected);
  EXPECT_LT(small->reads(), store->reads());
}

TEST(TrainingRunTest, SampledEntriesLearnToo) {
  TrainingOptions options = Options();
  options.group.gradient.sampled_entries = 12;
  options.group.optimizer.steps = 1;
  ASSERT_OK_AND_ASSIGN(const TrainingResult untrained, TrainAlone(options));
  options.group.optimizer.steps = 100;
  ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainAlone(options));
  EXPECT_LT(result.agents.held_out_cost - 1, (untrained.agents.held_out_cost - 1) * 0.6);
}

TEST(TrainingRunTest, ARequestToStopEndsItSoonWithWhatThereIs) {
  ASSERT_OK_AND_ASSIGN(const TrainingResult result,
                       TrainOn(Options(), *SyntheticStore(Spec()), /*stop_at_once=*/true));
  EXPECT_TRUE(result.stopped);
  EXPECT_LE(result.steps, 10);
  EXPECT_GT(result.steps, 0);
  EXPECT_GT(result.agents.held_out_cost, 1);
  EXPECT_EQ(result.agents.parameters.at("output.weight").size(0), 4);
}

TEST(TrainingRunTest, GoesOnFromACheckpointBitForBit) {
  TrainingOptions options = Options();
  ASSERT_OK_AND_ASSIGN(const TrainingResult expected, TrainAlone(options));
  options.checkpoint.dir = FreshFolder("goes_on");
  options.checkpoint.resume = true;
  options.metrics_path = absl::StrCat(testing::TempDir(), "/goes_on.jsonl");
  int stops = 0;
  TrainingResult result;
  do {
    // Each process is stopped at its first talk, after one step.
    ASSERT_OK_AND_ASSIGN(result,
                         TrainOn(options, *SyntheticStore(Spec()), /*stop_at_once=*/stops < 25));
    if (result.stopped) {
      EXPECT_EQ(result.steps, ++stops);
    }
  } while (result.stopped);
  EXPECT_EQ(stops, 25);
  EXPECT_EQ(result.steps, 60);
  ExpectSameAgents(result, expected);
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(options.metrics_path));
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 60u);
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(nlohmann::json::parse(lines[i]).at("step"), i + 1);
  }
  // Again, when everything is done.
  ASSERT_OK_AND_ASSIGN(const TrainingResult again, TrainOn(options, *SyntheticStore(Spec())));
  ExpectSameAgents(again, expected);
}

TEST(TrainingRunTest, ACheckpointOfOtherOptionsOrTracesIsRefusedByField) {
  TrainingOptions options = Options();
  options.checkpoint.dir = FreshFolder("refused");
  options.checkpoint.resume = true;
  ASSERT_OK(TrainOn(options, *SyntheticStore(Spec()), /*stop_at_once=*/true));
  const auto refused = [&](const TrainingOptions& changed, const SyntheticTraceSpec& spec,
                           const std::string& field) {
    EXPECT_THAT(TrainOn(changed, *SyntheticStore(spec)).status(),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("step-000000000001"), HasSubstr(field))));
  };
  TrainingOptions changed = options;
  changed.batch = 5;
  refused(changed, Spec(), "batch is \"4\" there, and \"5\" here");
  changed = options;
  changed.group.optimizer.learning_rate = 0.02;
  refused(changed, Spec(), "learning_rate");
  SyntheticTraceSpec more = Spec();
  more.traces = 7;
  refused(options, more, "traces is \"6 of hash");
  changed = options;
  changed.checkpoint.resume = false;
  refused(changed, Spec(), "--resume");
}

TEST(TrainingRunTest, AHeadWhoseValuesAreNoNumbersStopsAlone) {
  std::vector<SyntheticTrace> traces = Traces("train");
  SpoilHead({0, 1}, traces);
  for (SyntheticTrace& trace : Traces("held_out")) traces.push_back(std::move(trace));
  MemoryTraceReader store(traces);
  ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainOn(Options(), store));
  EXPECT_EQ(result.stopped_heads, (std::vector<int64_t>{1}));
  // What it began as: a cost like that of a random order.
  EXPECT_GT(result.held_out_cost[1], 1.5);
  EXPECT_LT(result.held_out_cost[1], 100);
  ASSERT_OK_AND_ASSIGN(const TrainingResult sound, TrainAlone(Options()));
  for (const auto& [name, tensor] : result.agents.parameters) {
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
    EXPECT_TRUE(at::equal(tensor[0], sound.agents.parameters.at(name)[0])) << name;
  }
}

TEST(TrainingRunTest, AHeadThatCannotBeEvaluatedEitherLeavesTheOthersNumbers) {
  std::vector<SyntheticTrace> traces = Traces("train");
  for (SyntheticTrace& trace : Traces("held_out")) traces.push_back(std::move(trace));
  SpoilHead({0, 1}, traces);
  MemoryTraceReader store(traces);
  ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainOn(Options(), store));
  EXPECT_GT(result.agents.held_out_cost, 1);
  EXPECT_LT(result.agents.held_out_cost, 3);
  ASSERT_OK_AND_ASSIGN(const TrainingResult sound, TrainAlone(Options()));
  EXPECT_EQ(result.held_out_cost[0], sound.held_out_cost[0]);
}

TEST(TrainingRunTest, LostBlocksLeaveTheirTraceOutForTheirHeadAlone) {
  std::vector<SyntheticTrace> traces = Traces("train");
  std::vector<SyntheticTrace> held_out = Traces("held_out");
  const auto lose = [](SyntheticTrace& trace, HeadId head) {
    trace.blocks.erase(std::remove_if(trace.blocks.begin(), trace.blocks.end(),
                                      [&](const HeadBlock& block) {
                                        return block.key.head == head && block.key.block == 0;
                                      }),
                       trace.blocks.end());
  };
  lose(traces[1], {1, 0});
  lose(held_out[4], {1, 0});
  for (SyntheticTrace& trace : held_out) traces.push_back(std::move(trace));
  MemoryTraceReader store(traces);
  ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainOn(Options(), store));
  EXPECT_EQ(result.incomplete_head_traces, 2);
  ASSERT_OK_AND_ASSIGN(const TrainingResult whole, TrainAlone(Options()));
  for (const int head : {0, 1, 3}) EXPECT_EQ(result.held_out_cost[head], whole.held_out_cost[head]);
  EXPECT_NE(result.held_out_cost[2], whole.held_out_cost[2]);
  // Of 5.7 before it learnt.
  EXPECT_LT(result.held_out_cost[2], 2);
}

TEST(TrainingRunTest, AHeadWithoutAnyHeldOutTraceIsAnErrorWithItsName) {
  std::vector<SyntheticTrace> traces = Traces("held_out");
  for (SyntheticTrace& trace : traces) {
    trace.blocks.erase(std::remove_if(trace.blocks.begin(), trace.blocks.end(),
                                      [](const HeadBlock& block) {
                                        return block.key.head == HeadId{1, 1};
                                      }),
                       trace.blocks.end());
  }
  for (SyntheticTrace& trace : Traces("train")) traces.push_back(std::move(trace));
  MemoryTraceReader store(traces);
  EXPECT_THAT(TrainOn(Options(), store).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("layer 1, KV head 1")));
}

TEST(TrainingRunTest, AStoreThatGoesAwayEndsTheRunWithItsError) {
  const std::unique_ptr<MemoryTraceReader> store = SyntheticStore(Spec());
  TrainingOptions options = Options();
  options.data = {/*cache_bytes=*/0, /*prefetch_bytes=*/0, /*fetch_threads=*/2};
  options.on_evaluation = [&](const EvaluationSummary& summary) {
    store->set_failing(true);
    return true;
  };
  EXPECT_THAT(TrainOn(options, *store).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("the store is away")));
}

TEST(TrainingRunTest, HeuristicsAreMeasuredOnTheSameContexts) {
  TrainingOptions options = Options();
  options.group.optimizer.steps = 1;
  ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainAlone(options));
  EXPECT_THAT(result.heuristics, testing::ElementsAre("random", "streaming_llm", "k_norm",
                                                      "key_diff", "lag_kv", "cur", "leverage"));
  ASSERT_EQ(result.heuristic_costs.size(), 4u);
  for (const std::vector<double>& costs : result.heuristic_costs) {
    ASSERT_EQ(costs.size(), result.heuristics.size());
    for (const double cost : costs) EXPECT_GT(cost, 1);
  }
}

TEST(TrainingRunTest, AnEvaluationsListenerMayEndTheRun) {
  TrainingOptions options = Options();
  std::vector<int64_t> steps;
  options.on_evaluation = [&](const EvaluationSummary& summary) {
    steps.push_back(summary.step);
    EXPECT_GE(summary.worst_cost, summary.held_out_cost);
    EXPECT_EQ(summary.retained.size(), 4u);
    return summary.step < 40;
  };
  ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainAlone(options));
  EXPECT_EQ(steps, (std::vector<int64_t>{20, 40}));
  EXPECT_EQ(result.steps, 40);
  EXPECT_GT(result.agents.held_out_cost, 1);
}

TEST(TrainingRunTest, MetricsHaveALineForEachStep) {
  TrainingOptions options = Options();
  options.group.optimizer.steps = 25;
  options.metrics_path = absl::StrCat(testing::TempDir(), "/metrics.jsonl");
  ASSERT_OK(TrainAlone(options));
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(options.metrics_path));
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 25u);
  for (size_t i = 0; i < lines.size(); ++i) {
    const nlohmann::json line = nlohmann::json::parse(lines[i]);
    EXPECT_EQ(line.at("step"), i + 1);
    EXPECT_GT(line.at("loss"), 1);
    EXPECT_GE(line.at("loss_worst"), line.at("loss"));
    EXPECT_GT(line.at("gradient_norm"), 0);
    EXPECT_GT(line.at("token_heads"), 4 * 4 * 20);
    const bool evaluated = i + 1 == 20 || i + 1 == 25;
    for (const char* field : {"held_out_cost", "retained", "steps_per_second", "data_wait_share",
                              "token_heads_per_second", "stopped_heads"}) {
      EXPECT_EQ(line.contains(field), evaluated) << field << " at step " << i + 1;
    }
  }
}

TEST(TrainingRunTest, PrometheusSeesTheSame) {
  Metrics metrics;
  TrainingOptions options = Options();
  options.metrics = TrainerMetrics::In(metrics);
  ASSERT_OK(TrainAlone(options));
  const std::string text = metrics.Text();
  EXPECT_THAT(
      text,
      AllOf(HasSubstr("kvp_trainer_steps_total 60"), HasSubstr("kvp_trainer_contexts_total 240"),
            HasSubstr("kvp_trainer_stopped_heads 0"), HasSubstr("\nkvp_trainer_held_out_cost 1.")));
}

TEST(TrainingRunTest, AMetricsFileThatCannotBeWrittenIsNamed) {
  TrainingOptions options = Options();
  options.metrics_path = "/nowhere/metrics.jsonl";
  EXPECT_THAT(TrainAlone(options).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nowhere/metrics.jsonl")));
}

TEST(TrainingRunTest, OptionsAreCheckedByField) {
  const auto refused = [](auto change, const std::string& message) {
    TrainingOptions options = Options();
    change(options);
    EXPECT_THAT(options.Validate(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  EXPECT_OK(Options().Validate());
  refused([](TrainingOptions& options) { options.batch = 0; }, "batch is 0");
  refused([](TrainingOptions& options) { options.group_size = 0; }, "group_size is 0");
  refused([](TrainingOptions& options) { options.group.gradient.sampled_entries = 1; },
          "sampled_entries is 1");
  refused([](TrainingOptions& options) { options.checkpoint.resume = true; },
          "checkpoint_dir is empty");
  refused([](TrainingOptions& options) { options.data.fetch_threads = 0; }, "fetch_threads is 0");
}

}  // namespace
}  // namespace kvp
