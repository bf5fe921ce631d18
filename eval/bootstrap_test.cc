#include "eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace kvp {
namespace {

// Whether a quantile taken from `resamples` draws may be `x`, where the exact probabilities of less
// than x and of at most x are given.
void ExpectQuantile(double level, double below, double at_most, int64_t resamples) {
  const double error = 4 * std::sqrt(level * (1 - level) / static_cast<double>(resamples));
  EXPECT_LE(below, level + error);
  EXPECT_GE(at_most, level - error);
}

TEST(BootstrapTest, SharesHaveTheQuantilesOfTheBinomialDistribution) {
  // The sum of n items drawn from k ones and n - k zeros is binomial (n, k / n).
  for (const auto& [n, k] : std::vector<std::pair<int, int>>{{60, 45}, {12, 3}, {200, 199}}) {
    const double p = static_cast<double>(k) / n;
    const auto at_most = [n = n, p](double count) {
      double sum = 0;
      for (int i = 0; i <= std::lround(count); ++i) {
        sum += std::exp(std::lgamma(n + 1) - std::lgamma(i + 1) - std::lgamma(n - i + 1) +
                        i * std::log(p) + (n - i) * std::log1p(-p));
      }
      return sum;
    };
    std::vector<BootstrapItem> items(n);
    for (int i = 0; i < n; ++i) items[i].value = i < k;
    for (double confidence : {0.95, 0.5}) {
      BootstrapOptions options;
      options.resamples = 10000;
      options.confidence = confidence;
      const Interval interval = BootstrapInterval(items, options);
      const double tail = (1 - confidence) / 2;
      for (const auto& [level, share] : std::vector<std::pair<double, double>>{
               {tail, interval.low}, {1 - tail, interval.high}}) {
        SCOPED_TRACE(testing::Message() << k << " of " << n << ", " << level << ": " << share);
        EXPECT_NEAR(share * n, std::round(share * n), 1e-9);
        ExpectQuantile(level, at_most(share * n - 1), at_most(share * n), options.resamples);
      }
    }
  }
}

TEST(BootstrapTest, WeightedMeansHaveTheQuantilesOfAllResamples) {
  const std::vector<BootstrapItem> items = {{0.1, 1}, {0.9, 8}, {0.4, 3}, {0.2, 5}, {0.75, 2}};
  std::vector<double> all;
  for (int draw = 0; draw < 5 * 5 * 5 * 5 * 5; ++draw) {
    double sum = 0;
    double weights = 0;
    for (int rest = draw, i = 0; i < 5; ++i, rest /= 5) {
      sum += items[rest % 5].weight * items[rest % 5].value;
      weights += items[rest % 5].weight;
    }
    all.push_back(sum / weights);
  }
  BootstrapOptions options;
  options.resamples = 10000;
  options.confidence = 0.8;
  const Interval interval = BootstrapInterval(items, options);
  for (const auto& [level, mean] :
       std::vector<std::pair<double, double>>{{0.1, interval.low}, {0.9, interval.high}}) {
    const auto share = [&all, mean = mean](double slack) {
      return static_cast<double>(std::count_if(all.begin(), all.end(),
                                               [&](double x) { return x <= mean + slack; })) /
             static_cast<double>(all.size());
    };
    ExpectQuantile(level, share(-1e-9), share(1e-9), options.resamples);
  }
}

TEST(BootstrapTest, OfManyNormalNumbersItIsTheNormalInterval) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal(5, 2);
  std::vector<BootstrapItem> items(2000);
  double mean = 0;
  for (BootstrapItem& item : items) mean += (item.value = normal(random)) / 2000;
  double variance = 0;
  for (const BootstrapItem& item : items) {
    variance += (item.value - mean) * (item.value - mean) / 2000;
  }
  BootstrapOptions options;
  options.resamples = 20000;
  const Interval interval = BootstrapInterval(items, options);
  const double error = std::sqrt(variance / 2000);
  EXPECT_NEAR((interval.low - mean) / error, -1.96, 0.08);
  EXPECT_NEAR((interval.high - mean) / error, 1.96, 0.08);
}

TEST(BootstrapTest, HoldsTheTrueMeanAsOftenAsItSays) {
  std::mt19937_64 random(4);
  std::normal_distribution<double> normal(-1, 3);
  BootstrapOptions options;
  options.resamples = 500;
  options.confidence = 0.9;
  int held = 0;
  constexpr int kTimes = 1000;
  for (int time = 0; time < kTimes; ++time) {
    std::vector<BootstrapItem> items(80);
    for (BootstrapItem& item : items) item.value = normal(random);
    options.seed = static_cast<uint64_t>(time);
    const Interval interval = BootstrapInterval(items, options);
    held += interval.low <= -1 && -1 <= interval.high;
  }
  EXPECT_NEAR(held / static_cast<double>(kTimes), 0.9, 0.04);
}

TEST(BootstrapTest, IsAFunctionOfTheSeed) {
  const std::vector<BootstrapItem> items = {{0.1}, {0.93}, {0.42}, {0.27}, {0.751}, {0.6}};
  BootstrapOptions options;
  options.resamples = 50;
  const Interval first = BootstrapInterval(items, options);
  const Interval again = BootstrapInterval(items, options);
  EXPECT_EQ(first.low, again.low);
  EXPECT_EQ(first.high, again.high);
  options.seed = 2;
  const Interval other = BootstrapInterval(items, options);
  EXPECT_TRUE(first.low != other.low || first.high != other.high);
}

TEST(BootstrapTest, WhatWasNotMeasuredIsLeftOut) {
  const std::vector<BootstrapItem> some = {{0.1}, {0.9}, {0.4}};
  std::vector<BootstrapItem> more = some;
  more.insert(more.begin() + 1, {std::nan(""), 1});
  more.push_back({77, 0});
  EXPECT_EQ(BootstrapInterval(more, {}).low, BootstrapInterval(some, {}).low);
  EXPECT_EQ(BootstrapInterval(more, {}).high, BootstrapInterval(some, {}).high);
  EXPECT_TRUE(std::isnan(BootstrapInterval({}, {}).low));
  EXPECT_TRUE(std::isnan(BootstrapInterval({{0.5}}, {}).high));
}

}  // namespace
}  // namespace kvp
