#include "trainer/training_run.h"

#include <algorithm>
#include <limits>
#include <set>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "trainer/synthetic_traces.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr HeadRange kAllHeads = {0, 4};

SyntheticTraceSpec Spec(const std::string& split) {
  SyntheticTraceSpec spec;
  spec.split = split;
  spec.traces = 6;
  return spec;
}

TrainingOptions Options() {
  TrainingOptions options;
  options.group.shape.head_dim = 8;
  options.group.shape.width = 16;
  options.group.optimizer.steps = 60;
  options.group.optimizer.learning_rate = 0.01;
  options.group.optimizer.warmup_steps = 5;
  options.group.seed = 3;
  options.batch = 4;
  options.eval_every = 20;
  return options;
}

absl::StatusOr<TrainingResult> TrainAlone(const TrainingOptions& options,
                                          HeadRange heads = kAllHeads, bool stop_at_once = false) {
  const Dataset train = MakeSyntheticDataset(Spec("train"), heads, 2);
  const Dataset held_out = MakeSyntheticDataset(Spec("held_out"), heads, 2);
  const std::unique_ptr<Communicator> alone = NewSingleCommunicator();
  const std::atomic<bool> stop{stop_at_once};
  return Train(options, train, held_out, *alone, stop);
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

TEST(TrainingRunTest, AHeadsAgentIsTheSameWhicheverHeadsTheRankHas) {
  ASSERT_OK_AND_ASSIGN(const TrainingResult all, TrainAlone(Options()));
  ASSERT_OK_AND_ASSIGN(const TrainingResult second_group, TrainAlone(Options(), {2, 4}));
  for (const auto& [name, tensor] : second_group.agents.parameters) {
    EXPECT_TRUE(at::equal(tensor, all.agents.parameters.at(name).slice(0, 2))) << name;
  }
}

TEST(TrainingRunTest, SampledEntriesLearnToo) {
  TrainingOptions options = Options();
  options.group.sampled_entries = 12;
  options.group.optimizer.steps = 1;
  ASSERT_OK_AND_ASSIGN(const TrainingResult untrained, TrainAlone(options));
  options.group.optimizer.steps = 100;
  ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainAlone(options));
  EXPECT_LT(result.agents.held_out_cost - 1, (untrained.agents.held_out_cost - 1) * 0.6);
}

TEST(TrainingRunTest, ARequestToStopEndsItSoonWithWhatThereIs) {
  ASSERT_OK_AND_ASSIGN(const TrainingResult result, TrainAlone(Options(), kAllHeads, true));
  EXPECT_LE(result.steps, 10);
  EXPECT_GT(result.steps, 0);
  EXPECT_GT(result.agents.held_out_cost, 1);
  EXPECT_EQ(result.agents.parameters.at("output.weight").size(0), 4);
}

TEST(TrainingRunTest, AHeadWhoseValuesAreNoNumbersStopsAlone) {
  const auto traces = MakeSyntheticTraces(Spec("train"));
  std::vector<TraceRecord> records;
  for (const SyntheticTrace& trace : traces) records.push_back(trace.record);
  ASSERT_OK_AND_ASSIGN(Dataset train, Dataset::Create(records, kAllHeads, 2));
  for (const SyntheticTrace& trace : traces) {
    for (HeadBlock block : trace.blocks) {
      // bf16's quiet NaN in all of head 1.
      if (block.key.head == HeadId{0, 1}) {
        for (size_t i = 0; i < block.values.size(); i += 2) {
          block.values[i] = static_cast<char>(0xC0);
          block.values[i + 1] = 0x7F;
        }
      }
      ASSERT_OK(train.Add(block));
    }
  }
  train.KeepTraces(train.CompleteTraces());
  const Dataset held_out = MakeSyntheticDataset(Spec("held_out"), kAllHeads, 2);
  const std::unique_ptr<Communicator> alone = NewSingleCommunicator();
  const std::atomic<bool> stop{false};
  ASSERT_OK_AND_ASSIGN(const TrainingResult result,
                       Train(Options(), train, held_out, *alone, stop));
  EXPECT_EQ(result.stopped_heads, (std::vector<int64_t>{1}));
  ASSERT_OK_AND_ASSIGN(const TrainingResult sound, TrainAlone(Options()));
  for (const auto& [name, tensor] : result.agents.parameters) {
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
    EXPECT_TRUE(at::equal(tensor[0], sound.agents.parameters.at(name)[0])) << name;
  }
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
    EXPECT_GT(line.at("gradient_norm"), 0);
    EXPECT_EQ(line.contains("held_out_cost"), i + 1 == 20 || i + 1 == 25);
  }
}

TEST(TrainingRunTest, AMetricsFileThatCannotBeWrittenIsNamed) {
  TrainingOptions options = Options();
  options.metrics_path = "/nowhere/metrics.jsonl";
  EXPECT_THAT(TrainAlone(options).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nowhere/metrics.jsonl")));
}

TEST(TrainingRunTest, EachEpochHasEveryContextOnceInAnOrderOfItsOwn) {
  const Dataset train = MakeSyntheticDataset(Spec("train"), kAllHeads, 2);  // 12 contexts
  std::vector<std::vector<int64_t>> epochs(2);
  for (int64_t step = 0; step < 6; ++step) {
    for (const Context& context : BatchOfStep(train.contexts(), 4, step, 1)) {
      epochs[step / 3].push_back(context.trace * 2 + context.cut_number);
    }
  }
  for (const std::vector<int64_t>& epoch : epochs) {
    EXPECT_EQ(std::set<int64_t>(epoch.begin(), epoch.end()).size(), 12u);
  }
  EXPECT_NE(epochs[0], epochs[1]);
}

TEST(TrainingRunTest, ABatchMayBeLargerThanAllContexts) {
  const Dataset train = MakeSyntheticDataset(Spec("train"), kAllHeads, 2);
  EXPECT_EQ(BatchOfStep(train.contexts(), 30, 2, 1).size(), 30u);
}

TEST(TrainingRunTest, OptionsAreCheckedByField) {
  TrainingOptions options = Options();
  options.batch = 0;
  EXPECT_THAT(options.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("batch is 0")));
  options = Options();
  options.group.sampled_entries = 1;
  EXPECT_THAT(options.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sampled_entries is 1")));
}

}  // namespace
}  // namespace kvp
