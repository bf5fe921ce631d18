#include "llm/embedded/bigram_model.h"

#include <cmath>

#include "gtest/gtest.h"

namespace kvp {
namespace {

TEST(BigramModelTest, ProbabilitiesSumToOne) {
  BigramModel model(5);
  model.Add({0, 1, 2, 0, 1, 3, 0, 1, 2});
  for (int previous = 0; previous < 5; ++previous) {
    double sum = 0;
    for (int next = 0; next < 5; ++next) sum += std::exp(-model.Nats(previous, next));
    EXPECT_NEAR(sum, 1.0, 1e-12) << previous;
  }
}

TEST(BigramModelTest, WhatWasSeenIsLikely) {
  BigramModel model(5);
  model.Add({0, 1, 2, 0, 1, 3, 0, 1, 2});
  EXPECT_LT(model.Nats(0, 1), model.Nats(0, 2));
  EXPECT_LT(model.Nats(1, 2), model.Nats(1, 3));
  EXPECT_GT(model.Nats(1, 4), model.Nats(1, 3));
}

TEST(BigramModelTest, MatchesTheFormula) {
  BigramModel model(3);
  model.Add({0, 1, 0, 1, 0, 2});
  // Bigrams 01 (twice), 10 (twice), 02; token 1 has one predecessor, and with the added one 2 of 3
  // + 3.
  EXPECT_NEAR(model.Nats(0, 1), -std::log((2 - 0.75) / 3 + 0.75 * 2 / 3 * 2 / 6), 1e-12);
}

}  // namespace
}  // namespace kvp
