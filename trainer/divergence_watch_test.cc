#include "trainer/divergence_watch.h"

#include <limits>

#include "ATen/ATen.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

at::Tensor Losses(std::vector<double> values) { return at::tensor(values, at::kDouble); }

// The steps, from 1, at which each of two heads is first said to have diverged; 0: never.
template <typename LossOfStep>
std::vector<int> FirstDivergence(int steps, LossOfStep loss) {
  DivergenceWatch watch(2);
  std::vector<int> first = {0, 0};
  for (int step = 1; step <= steps; ++step) {
    const at::Tensor diverged = watch.Update(loss(step));
    for (int head = 0; head < 2; ++head) {
      if (first[head] == 0 && diverged[head].item<bool>()) first[head] = step;
    }
  }
  return first;
}

TEST(DivergenceWatchTest, ALossThatStaysAboveTwiceItsBeginningHasDiverged) {
  const std::vector<int> first = FirstDivergence(200, [](int step) {
    return Losses({step < 50 ? 4.0 : 9.0, 4.0 / step});
  });
  // Smoothing 4 towards 9 by a twentieth a step passes 8 after log(1/5)/log(0.95) = 31.4 steps.
  EXPECT_EQ(first, (std::vector<int>{81, 0}));
}

TEST(DivergenceWatchTest, ASingleBadBatchIsNone) {
  const std::vector<int> first = FirstDivergence(100, [](int step) {
    return Losses({step == 40 ? 60.0 : 4.0, step == 5 ? 100.0 : 4.0});
  });
  EXPECT_EQ(first, (std::vector<int>{0, 0}));
}

TEST(DivergenceWatchTest, ALossThatIsNoNumberHasDivergedAtOnce) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<int> first = FirstDivergence(10, [&](int step) {
    return Losses({step == 1 ? nan : 2.0, step == 7 ? infinity : 2.0});
  });
  EXPECT_EQ(first, (std::vector<int>{1, 7}));
}

TEST(DivergenceWatchTest, GoesOnFromItsState) {
  const auto loss = [](int step) { return Losses({step < 50 ? 4.0 : 9.0, 1.0}); };
  DivergenceWatch first(2);
  for (int step = 1; step <= 60; ++step) first.Update(loss(step));
  DivergenceWatch second(2);
  const NamedTensors state = first.state();
  for (auto& [name, tensor] : second.state()) tensor.copy_(state.at(name));
  for (int step = 61; step <= 81; ++step) {
    EXPECT_EQ(second.Update(loss(step))[0].item<bool>(), step == 81) << step;
  }
}

}  // namespace
}  // namespace kvp
