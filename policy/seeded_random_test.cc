#include "policy/seeded_random.h"

#include <map>
#include <set>

#include "ATen/ATen.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

TEST(SeededRandomTest, SeedsDependOnEveryPartAndOnTheirOrder) {
  const std::set<uint64_t> seeds = {MixSeed({}),     MixSeed({0}),    MixSeed({0, 0}),
                                    MixSeed({1, 2}), MixSeed({2, 1}), MixSeed({1, 2, 0})};
  EXPECT_EQ(seeds.size(), 6u);
}

TEST(SeededRandomTest, ElementsDependOnSeedAndIndexAlone) {
  const at::Tensor few = SeededUniform({10}, 7);
  const at::Tensor many = SeededUniform({5, 10}, 7);
  EXPECT_TRUE(at::equal(many[0], few));
  EXPECT_FALSE(at::equal(SeededUniform({10}, 8), few));
}

TEST(SeededRandomTest, UniformHasTheMomentsOfTheOpenUnitInterval) {
  const at::Tensor values = SeededUniform({200000}, 3);
  EXPECT_GT(values.min().item<float>(), 0);
  EXPECT_LT(values.max().item<float>(), 1);
  EXPECT_NEAR(values.mean().item<float>(), 0.5, 0.003);
  EXPECT_NEAR(values.var().item<float>(), 1.0 / 12, 0.001);
  const at::Tensor neighbours = (values.slice(0, 1) - 0.5) * (values.slice(0, 0, -1) - 0.5);
  EXPECT_NEAR(neighbours.mean().item<float>(), 0, 0.001);
}

TEST(SeededRandomTest, NormalHasTheMomentsOfTheStandardNormal) {
  const at::Tensor values = SeededNormal({200000}, 3).to(at::kDouble);
  EXPECT_NEAR(values.mean().item<double>(), 0, 0.01);
  EXPECT_NEAR(values.var().item<double>(), 1, 0.02);
  EXPECT_NEAR(values.pow(3).mean().item<double>(), 0, 0.04);
  EXPECT_NEAR(values.pow(4).mean().item<double>(), 3, 0.1);
}

TEST(SeededRandomTest, GumbelHasMeanEulersConstantAndVariancePiSquaredOverSix) {
  const at::Tensor values = SeededGumbel({200000}, 3);
  EXPECT_NEAR(values.mean().item<float>(), 0.5772, 0.01);
  EXPECT_NEAR(values.var().item<float>(), 1.6449, 0.03);
}

TEST(SeededRandomTest, SubsetsAreEquallyLikelyAndAscending) {
  std::map<std::vector<int64_t>, int> counts;
  for (uint64_t seed = 0; seed < 10000; ++seed) ++counts[SeededSubset(5, 2, MixSeed({seed}))];
  EXPECT_EQ(counts.size(), 10u);
  for (const auto& [subset, count] : counts) {
    EXPECT_LT(subset[0], subset[1]);
    EXPECT_NEAR(count, 1000, 130);
  }
}

TEST(SeededRandomTest, SubsetOfMoreThanThereIsHoldsAll) {
  EXPECT_EQ(SeededSubset(3, 9, 1), (std::vector<int64_t>{0, 1, 2}));
}

TEST(SeededRandomTest, ElementsCanBeAskedForOneByOne) {
  const at::Tensor all = SeededUniform({1000}, 7);
  const at::Tensor indices = at::tensor({999, 0, 3, 3}, at::kLong);
  EXPECT_TRUE(at::equal(SeededUniformAt(indices, 7), all.index_select(0, indices)));
}

}  // namespace
}  // namespace kvp
