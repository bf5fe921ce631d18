#include "trainer/group_trainer.h"

#include <limits>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "trainer/communicator.h"
#include "trainer/synthetic_traces.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

constexpr HeadRange kHeads = {0, 4};

GroupTrainer::Options Options() {
  GroupTrainer::Options options;
  options.gradient.shape.head_dim = 8;
  options.gradient.shape.width = 16;
  options.gradient.seed = 3;
  options.optimizer.learning_rate = 0.01;
  options.optimizer.warmup_steps = 2;
  options.optimizer.steps = 40;
  return options;
}

// Every context of the synthetic traces.
std::vector<ContextTensors> Contexts(const std::string& split) {
  SyntheticTraceSpec spec;
  spec.split = split;
  const std::vector<SyntheticTrace> traces = MakeSyntheticTraces(spec);
  std::vector<TraceRecord> records;
  for (const SyntheticTrace& trace : traces) records.push_back(trace.record);
  const TraceSet set = TraceSet::Create(records).value();
  std::vector<ContextTensors> contexts;
  for (const Context& context : set.contexts()) {
    HeadGroupTensors tensors(set.trace(context.trace), kHeads, spec.kv_heads, spec.head_dim);
    for (const HeadBlock& block : traces[context.trace].blocks) EXPECT_OK(tensors.Add(block));
    tensors.Finish();
    contexts.push_back(tensors.Load(context, at::kCPU));
  }
  return contexts;
}

std::vector<BatchContext> Batch(const std::vector<ContextTensors>& contexts) {
  std::vector<BatchContext> batch;
  for (size_t i = 0; i < contexts.size(); ++i) {
    batch.push_back({static_cast<int64_t>(i), contexts[i]});
  }
  return batch;
}

std::unique_ptr<Objective> Exact() { return MakeObjective({}).value(); }

TEST(GroupTrainerTest, SharesOfABatchAddUpToTheWhole) {
  const std::unique_ptr<Objective> objective = MakeObjective({"rloo", 4}).value();
  GroupTrainer trainer(Options(), kHeads, objective.get(), at::kCPU);
  const std::vector<BatchContext> batch = Batch(Contexts("train"));
  const BatchGradient whole = trainer.Gradient(5, batch, 8);
  std::vector<BatchContext> even;
  std::vector<BatchContext> odd;
  for (const BatchContext& context : batch) (context.number % 2 ? odd : even).push_back(context);
  const BatchGradient first = trainer.Gradient(5, even, 8);
  const BatchGradient second = trainer.Gradient(5, odd, 8);
  EXPECT_TRUE(at::allclose(first.gradient + second.gradient, whole.gradient, 1e-4, 1e-6));
  EXPECT_TRUE(at::allclose(first.loss + second.loss, whole.loss));
  // A replica may have no share at all.
  EXPECT_EQ(trainer.Gradient(5, {}, 8).gradient.count_nonzero().item<int64_t>(), 0);
}

TEST(GroupTrainerTest, AHeadWithoutImportanceOrWithLostBlocksLearnsNothingOfTheContext) {
  const std::unique_ptr<Objective> objective = Exact();
  GroupTrainer trainer(Options(), kHeads, objective.get(), at::kCPU);
  std::vector<ContextTensors> contexts = Contexts("train");
  const BatchGradient without = trainer.Gradient(0, Batch({contexts[0]}), 2);
  contexts[1].importance = contexts[1].importance.clone();
  contexts[1].importance[2].zero_();
  const BatchGradient with = trainer.Gradient(0, Batch({contexts[0], contexts[1]}), 2);
  EXPECT_TRUE(at::equal(with.gradient[2], without.gradient[2]));
  EXPECT_FALSE(at::equal(with.gradient[1], without.gradient[1]));
  EXPECT_TRUE(with.gradient.isfinite().all().item<bool>());
}

TEST(GroupTrainerTest, ContextsThatAreNotWholeDoNotCountInMeasurements) {
  const std::unique_ptr<Objective> objective = Exact();
  GroupTrainer trainer(Options(), kHeads, objective.get(), at::kCPU);
  std::vector<ContextTensors> contexts = Contexts("held_out");
  const at::Tensor all = trainer.Measure(contexts);
  EXPECT_TRUE(at::equal(all.select(1, 5), at::full({4}, 8.0, at::kDouble)));
  const at::Tensor last = trainer.Measure({contexts.back()});
  contexts.back().whole = at::tensor({1, 1, 0, 1}).to(at::kBool);
  const at::Tensor most = trainer.Measure(contexts);
  EXPECT_TRUE(at::allclose(most[2], all[2] - last[2]));
  EXPECT_TRUE(at::equal(most[1], all[1]));
}

TEST(GroupTrainerTest, KeepsEachHeadsBestEvaluation) {
  const std::unique_ptr<Objective> objective = Exact();
  for (const bool keep_best : {true, false}) {
    GroupTrainer::Options options = Options();
    options.keep_best = keep_best;
    GroupTrainer trainer(options, kHeads, objective.get(), at::kCPU);
    const auto metrics = [](std::vector<double> costs) {
      return GroupMetrics{at::tensor(costs, at::kDouble), at::zeros({4, 4}, at::kDouble)};
    };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    trainer.Keep(10, metrics({3, 3, 3, nan}));
    const AgentParameters first = trainer.kept_parameters();
    trainer.Apply(0, trainer.Gradient(0, Batch(Contexts("train")), 8));
    trainer.Keep(20, metrics({2, 4, nan, 5}));
    const std::vector<int64_t> expected =
        keep_best ? std::vector<int64_t>{20, 10, 10, 20} : std::vector<int64_t>{20, 20, 10, 20};
    EXPECT_TRUE(at::equal(trainer.kept_steps(), at::tensor(expected)));
    const at::Tensor before = first.at("key.weight");
    const at::Tensor after = trainer.kept_parameters().at("key.weight");
    EXPECT_EQ(at::equal(after[1], before[1]), keep_best);
    EXPECT_TRUE(at::equal(after[2], before[2]));
    EXPECT_FALSE(at::equal(after[0], before[0]));
  }
}

TEST(GroupTrainerTest, AHeadWhoseLossExplodesEndsWithItsBestAgentAndTheOthersGoOn) {
  const std::unique_ptr<Objective> objective = Exact();
  GroupTrainer exploding(Options(), kHeads, objective.get(), at::kCPU);
  GroupTrainer sound(Options(), kHeads, objective.get(), at::kCPU);
  const std::vector<ContextTensors> held_out = Contexts("held_out");
  const std::vector<BatchContext> batch = Batch(Contexts("train"));
  int ended_at = -1;
  for (int step = 0; step < 40; ++step) {
    BatchGradient gradient = exploding.Gradient(step, batch, 8);
    // As if head 1 had got ten times worse than at its beginning.
    if (step >= 12) gradient.loss[1] *= 30;
    const GroupTrainer::StepResult result = exploding.Apply(step, gradient);
    sound.Apply(step, sound.Gradient(step, batch, 8));
    if (result.ended.any().item<bool>()) {
      EXPECT_EQ(ended_at, -1);
      EXPECT_TRUE(at::equal(result.ended, at::tensor({0, 1, 0, 0}).to(at::kBool)));
      ended_at = step;
    }
    if (step == 10) exploding.Keep(11, GroupTrainer::Means(exploding.Measure(held_out)));
  }
  EXPECT_GT(ended_at, 12);
  EXPECT_LT(ended_at, 30);
  const GroupMetrics kept = exploding.kept_metrics();
  // What it was kept as, and it stays that.
  EXPECT_TRUE(at::allclose(GroupTrainer::Means(exploding.Measure(held_out)).cost[1], kept.cost[1]));
  const at::Tensor others = at::tensor({0, 2, 3});
  const NamedTensors state = exploding.State();
  EXPECT_TRUE(at::equal(state.at("parameters").index_select(0, others),
                        sound.State().at("parameters").index_select(0, others)));
  EXPECT_TRUE(at::equal(state.at("parameters")[1], state.at("kept.parameters")[1]));
}

TEST(GroupTrainerTest, AHeadWhoseGradientIsNoNumberEndsAsItBeganWhereNothingWasKept) {
  const std::unique_ptr<Objective> objective = Exact();
  GroupTrainer trainer(Options(), kHeads, objective.get(), at::kCPU);
  const at::Tensor initial = trainer.State().at("parameters").clone();
  const std::vector<BatchContext> batch = Batch(Contexts("train"));
  for (int step = 0; step < 5; ++step) {
    BatchGradient gradient = trainer.Gradient(step, batch, 8);
    if (step == 3) gradient.gradient[2][7] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(trainer.Apply(step, gradient).ended.any().item<bool>(), step == 3);
  }
  EXPECT_TRUE(at::equal(trainer.State().at("parameters")[2], initial[2]));
  EXPECT_FALSE(at::equal(trainer.State().at("parameters")[1], initial[1]));
  EXPECT_TRUE(at::equal(trainer.stopped(), at::tensor({0, 0, 1, 0}).to(at::kBool)));
}

TEST(GroupTrainerTest, GoesOnBitForBitFromItsState) {
  const std::unique_ptr<Objective> objective = Exact();
  const std::vector<BatchContext> batch = Batch(Contexts("train"));
  const std::vector<ContextTensors> held_out = Contexts("held_out");
  GroupTrainer whole(Options(), kHeads, objective.get(), at::kCPU);
  NamedTensors saved;
  for (int step = 0; step < 10; ++step) {
    if (step == 4) {
      for (const auto& [name, tensor] : whole.State()) saved[name] = tensor.clone();
    }
    BatchGradient gradient = whole.Gradient(step, batch, 8);
    if (step == 2) gradient.gradient[0][0] = std::numeric_limits<float>::infinity();
    whole.Apply(step, gradient);
    if (step == 3 || step == 7) whole.Keep(step, GroupTrainer::Means(whole.Measure(held_out)));
  }
  GroupTrainer resumed(Options(), kHeads, objective.get(), at::kCPU);
  ASSERT_OK(resumed.Restore(saved));
  for (int step = 4; step < 10; ++step) {
    resumed.Apply(step, resumed.Gradient(step, batch, 8));
    if (step == 7) resumed.Keep(step, GroupTrainer::Means(resumed.Measure(held_out)));
  }
  const NamedTensors expected = whole.State();
  for (const auto& [name, tensor] : resumed.State()) {
    EXPECT_TRUE(at::equal(tensor, expected.at(name))) << name;
  }
}

TEST(GroupTrainerTest, AStateOfAnotherShapeIsRefusedByTensor) {
  const std::unique_ptr<Objective> objective = Exact();
  GroupTrainer trainer(Options(), kHeads, objective.get(), at::kCPU);
  NamedTensors state = trainer.State();
  state["kept.cost"] = at::zeros({3}, at::kDouble);
  EXPECT_THAT(trainer.Restore(state),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("kept.cost is Double [3]")));
  state.erase("kept.cost");
  EXPECT_THAT(trainer.Restore(state),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("kept.cost is missing")));
}

}  // namespace
}  // namespace kvp
