#include "llm/embedded/training_model.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "llm/embedded/retrieval_task.h"

namespace kvp {
namespace {

TrainingModelConfig SmallConfig() {
  TrainingModelConfig config;
  config.vocabulary = 64;
  config.layers = 2;
  config.feed_forward = 96;
  return config;
}

std::vector<TrainingSequence> Sequences(const std::vector<int>& lengths) {
  SplitMix64 random(5);
  std::vector<TrainingSequence> sequences;
  for (int length : lengths) {
    TrainingSequence sequence;
    for (int t = 0; t < length; ++t) {
      sequence.tokens.push_back(random.Below(64));
      sequence.kinds.push_back(t + 1 == length ? TargetKind::kIgnored
                               : t % 3 == 0    ? TargetKind::kAnswer
                                               : TargetKind::kText);
    }
    sequences.push_back(sequence);
  }
  return sequences;
}

std::vector<const TrainingSequence*> Pointers(const std::vector<TrainingSequence>& sequences) {
  std::vector<const TrainingSequence*> pointers;
  for (const TrainingSequence& sequence : sequences) pointers.push_back(&sequence);
  return pointers;
}

constexpr std::array<float, kTargetKinds> kWeights = {0.0f, 0.01f, 0.02f, 0.0f};

double Loss(const TrainingModel& model, const std::vector<TrainingSequence>& sequences) {
  TrainingModel::Workspace workspace;
  const LossSums sums = model.ForwardBackward(Pointers(sequences), kWeights, nullptr, &workspace);
  return sums.nats[1] * kWeights[1] + sums.nats[2] * kWeights[2];
}

TEST(TrainingModelTest, GradientsAreThoseOfTheLoss) {
  TrainingModel model(SmallConfig(), 3, /*use_bf16=*/false);
  for (at::Tensor& parameter : model.parameters()) {
    if (parameter.dim() > 1) parameter.mul_(3);  // Far from linear.
  }
  model.RefreshGemmWeights();
  const std::vector<TrainingSequence> sequences = Sequences({70, 33, 96});
  std::vector<at::Tensor> gradients;
  TrainingModel::Workspace workspace;
  model.ForwardBackward(Pointers(sequences), kWeights, &gradients, &workspace);
  ASSERT_EQ(gradients.size(), model.parameters().size());
  for (size_t i = 0; i < gradients.size(); ++i) {
    constexpr double kStep = 1e-2;
    const double norm = gradients[i].norm().item<double>();
    const at::Tensor original = model.parameters()[i].clone();
    const auto loss_at = [&](double distance) {
      model.parameters()[i].copy_(original + gradients[i] * (distance / norm));
      model.RefreshGemmWeights();
      return Loss(model, sequences);
    };
    EXPECT_NEAR((loss_at(kStep) - loss_at(-kStep)) / (2 * kStep), norm, 3e-3 * norm)
        << "parameter " << i;
    loss_at(0);
  }
}

TEST(TrainingModelTest, SequencesDontSeeEachOther) {
  const TrainingModel model(SmallConfig(), 3, /*use_bf16=*/false);
  const std::vector<TrainingSequence> all = Sequences({70, 33, 96});
  double separate = 0;
  for (const TrainingSequence& sequence : all) separate += Loss(model, {sequence});
  EXPECT_NEAR(Loss(model, all), separate, 1e-5 * separate);
}

TEST(TrainingModelTest, LaterTokensDontChangeEarlierLosses) {
  const TrainingModel model(SmallConfig(), 3, /*use_bf16=*/false);
  std::vector<TrainingSequence> sequences = Sequences({64});
  for (int t = 40; t < 64; ++t) sequences[0].kinds[t] = TargetKind::kIgnored;
  const double loss = Loss(model, sequences);
  for (int t = 41; t < 64; ++t) sequences[0].tokens[t] = 7;
  EXPECT_DOUBLE_EQ(Loss(model, sequences), loss);
}

TEST(TrainingModelTest, Bf16StaysCloseToFp32) {
  const TrainingModel exact(SmallConfig(), 3, /*use_bf16=*/false);
  const TrainingModel rounded(SmallConfig(), 3, /*use_bf16=*/true);
  const std::vector<TrainingSequence> sequences = Sequences({96});
  EXPECT_NEAR(Loss(rounded, sequences), Loss(exact, sequences), 1e-2 * Loss(exact, sequences));
}

TEST(TrainingModelTest, TheSeedDecidesTheWeights) {
  const TrainingModel a(SmallConfig(), 3, false), b(SmallConfig(), 3, false),
      c(SmallConfig(), 4, false);
  EXPECT_TRUE(a.parameters()[2].equal(b.parameters()[2]));
  EXPECT_FALSE(a.parameters()[2].equal(c.parameters()[2]));
}

}  // namespace
}  // namespace kvp
