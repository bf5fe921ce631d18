#include "eval/results.h"

#include <cmath>

#include "eval/sample_results.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ResultsTest, HasTheContractsKeys) {
  ASSERT_OK_AND_ASSIGN(const std::string text, ResultsToJson(SampleResults()));
  const nlohmann::json json = nlohmann::json::parse(text);
  for (const char* key : {"model", "traces", "tokens", "bytes_per_token", "offline", "in_model",
                          "full_cache", "timing"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  for (const char* policy : {"kvp", "oracle", "random", "streaming_llm", "k_norm", "key_diff"}) {
    ASSERT_TRUE(json["offline"].contains(policy)) << policy;
    EXPECT_TRUE(json["offline"][policy]["cost"].is_number());
    for (const char* budget : {"0.5", "0.25", "0.125", "0.0625"}) {
      EXPECT_TRUE(json["offline"][policy]["retained"][budget].is_number()) << budget;
      const nlohmann::json& cell = json["in_model"][policy][budget];
      for (const char* key : {"accuracy", "perplexity", "cache_bytes", "score_ms", "compact_ms",
                              "decode_ms_per_token"}) {
        EXPECT_TRUE(cell[key].is_number()) << policy << budget << key;
      }
      EXPECT_TRUE(cell["tasks"]["retrieval"].is_number());
    }
  }
  EXPECT_EQ(json["in_model"]["kvp"]["0.125"]["accuracy"], 0.95);
  EXPECT_EQ(json["timing"]["training"]["steps"], 600);
}

TEST(ResultsTest, SurvivesARoundTrip) {
  ASSERT_OK_AND_ASSIGN(const std::string text, ResultsToJson(SampleResults()));
  ASSERT_OK_AND_ASSIGN(const Results read, ResultsFromJson(text, "results.json"));
  ASSERT_OK_AND_ASSIGN(const std::string again, ResultsToJson(read));
  EXPECT_EQ(text, again);
  EXPECT_EQ(read.offline[3].first, "streaming_llm");
  EXPECT_EQ(read.in_model[0].second.at(0.0625).cache_bytes, 0.0625 * 1966080);
  EXPECT_EQ(read.seed, 18446744073709551615U);
  EXPECT_EQ(read.entries_only, SampleResults().entries_only);
  EXPECT_EQ(read.offline[0].second.cost_interval.high, 1.2 + 0.025);
  EXPECT_EQ(read.offline[0].second.tasks.at("retrieval").traces, 30);
  EXPECT_EQ(read.full_cache.task_details.at("tracking").interval.low, 0.85);
}

TEST(ResultsTest, WhatIsNoNumberIsNull) {
  Results results = SampleResults();
  results.offline[0].second.cost = std::nan("");
  ASSERT_OK_AND_ASSIGN(const std::string text, ResultsToJson(results));
  EXPECT_TRUE(nlohmann::json::parse(text)["offline"]["kvp"]["cost"].is_null());
  ASSERT_OK_AND_ASSIGN(const Results read, ResultsFromJson(text, "results.json"));
  EXPECT_TRUE(std::isnan(read.offline[0].second.cost));
}

TEST(ResultsTest, NamesTheFileAndTheField) {
  ASSERT_OK_AND_ASSIGN(const std::string text, ResultsToJson(SampleResults()));
  nlohmann::json json = nlohmann::json::parse(text);
  json["in_model"]["kvp"]["0.5"].erase("accuracy");
  EXPECT_THAT(ResultsFromJson(json.dump(), "a.json"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("a.json"), HasSubstr("in_model.kvp.0.5.accuracy"),
                             HasSubstr("missing"))));
  json = nlohmann::json::parse(text);
  json["offline"]["kvp"]["retained"]["7"] = 1;
  EXPECT_THAT(ResultsFromJson(json.dump(), "a.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("retained.7")));
  json = nlohmann::json::parse(text);
  json["full_cache"]["accuracy_interval"] = {1, 2, 3};
  EXPECT_THAT(
      ResultsFromJson(json.dump(), "a.json"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("full_cache.accuracy_interval")));
  json = nlohmann::json::parse(text);
  json["traces"] = "many";
  EXPECT_THAT(ResultsFromJson(json.dump(), "a.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("traces")));
  EXPECT_THAT(ResultsFromJson("[]", "a.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.json")));
  EXPECT_THAT(ResultsFromJson("{", "a.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.json")));
}

TEST(ResultsTest, TrainingResultsThatAreNoObjectAreRefused) {
  Results results = SampleResults();
  results.training_json = "[1]";
  EXPECT_THAT(ResultsToJson(results),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("training")));
}

}  // namespace
}  // namespace kvp
