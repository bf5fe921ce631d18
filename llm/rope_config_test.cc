#include "llm/rope_config.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

absl::StatusOr<RopeConfig> Parse(const Json& json, bool phi3 = false) {
  return ParseRopeConfig(JsonFields(json, "c.json"),
                         {/*head_dim=*/8, /*max_positions=*/4096, phi3});
}

absl::StatusOr<RopeConfig> ParseScaling(const Json& scaling, bool phi3 = false) {
  return Parse({{"rope_scaling", scaling}}, phi3);
}

Json Llama3() {
  return {{"rope_type", "llama3"},
          {"factor", 8},
          {"low_freq_factor", 1},
          {"high_freq_factor", 4},
          {"original_max_position_embeddings", 512}};
}

Json LongRope() {
  return {{"type", "longrope"}, {"short_factor", {1, 1.5, 2, 3}}, {"long_factor", {1, 2, 4, 8}}};
}

TEST(RopeConfigTest, NothingIsTheDefault) {
  ASSERT_OK_AND_ASSIGN(const RopeConfig rope, Parse(Json::object()));
  EXPECT_EQ(rope.type, RopeType::kDefault);
  EXPECT_EQ(rope.theta, 10000);
  EXPECT_EQ(rope.rotary_dim, 8);
  EXPECT_EQ(rope.attention_factor, 1);
}

TEST(RopeConfigTest, BothSpellingsGiveTheSame) {
  for (const char* type_name : {"type", "rope_type"}) {
    const Json scaling = {{type_name, "linear"}, {"factor", 4}};
    ASSERT_OK_AND_ASSIGN(const RopeConfig older,
                         Parse({{"rope_theta", 5e5}, {"rope_scaling", scaling}}));
    Json parameters = scaling;
    parameters["rope_theta"] = 5e5;
    ASSERT_OK_AND_ASSIGN(const RopeConfig newer, Parse({{"rope_parameters", parameters}}));
    for (const RopeConfig& rope : {older, newer}) {
      EXPECT_EQ(rope.type, RopeType::kLinear);
      EXPECT_EQ(rope.theta, 5e5);
      EXPECT_EQ(rope.factor, 4);
    }
  }
}

TEST(RopeConfigTest, ReadsLlama3) {
  ASSERT_OK_AND_ASSIGN(const RopeConfig rope, ParseScaling(Llama3()));
  EXPECT_EQ(rope.type, RopeType::kLlama3);
  EXPECT_EQ(rope.factor, 8);
  EXPECT_EQ(rope.low_freq_factor, 1);
  EXPECT_EQ(rope.high_freq_factor, 4);
  EXPECT_EQ(rope.original_max_positions, 512);
  for (const char* field :
       {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    Json scaling = Llama3();
    scaling.erase(field);
    EXPECT_THAT(ParseScaling(scaling), StatusIs(kInvalid, HasSubstr(field)));
    scaling[field] = 0;
    EXPECT_THAT(ParseScaling(scaling), StatusIs(kInvalid, AllOf(HasSubstr(field), HasSubstr("0"))));
  }
}

TEST(RopeConfigTest, YarnsAttentionFactorIsThePapersUnlessGiven) {
  Json scaling = {{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 2048}};
  ASSERT_OK_AND_ASSIGN(const RopeConfig rope, ParseScaling(scaling));
  EXPECT_EQ(rope.type, RopeType::kYarn);
  EXPECT_EQ(rope.factor, 4);
  EXPECT_EQ(rope.original_max_positions, 2048);
  EXPECT_DOUBLE_EQ(rope.attention_factor, 0.1 * std::log(4.0) + 1);
  EXPECT_EQ(rope.beta_fast, 32);
  EXPECT_EQ(rope.beta_slow, 1);
  EXPECT_TRUE(rope.truncate);
  scaling["mscale"] = 0.5;
  scaling["mscale_all_dim"] = 2;
  ASSERT_OK_AND_ASSIGN(const RopeConfig scaled, ParseScaling(scaling));
  EXPECT_DOUBLE_EQ(scaled.attention_factor, (0.05 * std::log(4.0) + 1) / (0.2 * std::log(4.0) + 1));
  scaling["attention_factor"] = 1.25;
  scaling["truncate"] = false;
  scaling["beta_fast"] = 16;
  scaling["beta_slow"] = 2;
  ASSERT_OK_AND_ASSIGN(const RopeConfig given, ParseScaling(scaling));
  EXPECT_EQ(given.attention_factor, 1.25);
  EXPECT_EQ(given.beta_fast, 16);
  EXPECT_EQ(given.beta_slow, 2);
  EXPECT_FALSE(given.truncate);
}

TEST(RopeConfigTest, YarnFillsInFactorAndOriginalLength) {
  ASSERT_OK_AND_ASSIGN(const RopeConfig no_original,
                       ParseScaling({{"type", "yarn"}, {"factor", 4}}));
  EXPECT_EQ(no_original.original_max_positions, 4096);
  ASSERT_OK_AND_ASSIGN(
      const RopeConfig no_factor,
      ParseScaling({{"type", "yarn"}, {"original_max_position_embeddings", 2048}}));
  EXPECT_EQ(no_factor.factor, 2);
}

TEST(RopeConfigTest, LongRopesAttentionFactorComesOfTheLengths) {
  for (const char* type : {"longrope", "su"}) {
    Json scaling = LongRope();
    scaling["type"] = type;
    ASSERT_OK_AND_ASSIGN(const RopeConfig rope, Parse({{"original_max_position_embeddings", 1024},
                                                       {"rope_scaling", scaling}},
                                                      /*phi3=*/true));
    EXPECT_EQ(rope.type, RopeType::kLongRope);
    EXPECT_THAT(rope.short_factors, ElementsAre(1, 1.5, 2, 3));
    EXPECT_THAT(rope.long_factors, ElementsAre(1, 2, 4, 8));
    EXPECT_EQ(rope.original_max_positions, 1024);
    EXPECT_DOUBLE_EQ(rope.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(1024.0)));
  }
  // Phi3Config's default, here as long as the model: nothing to scale.
  ASSERT_OK_AND_ASSIGN(const RopeConfig phi3, ParseScaling(LongRope(), /*phi3=*/true));
  EXPECT_EQ(phi3.original_max_positions, 4096);
  EXPECT_EQ(phi3.attention_factor, 1);
  EXPECT_THAT(ParseScaling(LongRope()),
              StatusIs(kInvalid, HasSubstr("original_max_position_embeddings is missing")));
  Json given = LongRope();
  given["attention_factor"] = 1.5;
  ASSERT_OK_AND_ASSIGN(const RopeConfig explicit_factor, ParseScaling(given, /*phi3=*/true));
  EXPECT_EQ(explicit_factor.attention_factor, 1.5);
}

TEST(RopeConfigTest, LongRopeNeedsAFactorForEachPair) {
  for (const char* field : {"short_factor", "long_factor"}) {
    for (const Json& value : {Json({1, 2, 3}), Json({1, 2, 3, 0}), Json({1, 2, 3, "4"}), Json(3)}) {
      Json scaling = LongRope();
      scaling[field] = value;
      EXPECT_THAT(ParseScaling(scaling, /*phi3=*/true),
                  StatusIs(kInvalid,
                           AllOf(HasSubstr("c.json"), HasSubstr(field), HasSubstr(value.dump()))));
    }
  }
  Json scaling = LongRope();
  scaling["factor"] = 32;
  EXPECT_THAT(ParseScaling(scaling, /*phi3=*/true), StatusIs(kUnimplemented, HasSubstr("32")));
}

TEST(RopeConfigTest, RefusesUnknownTypesAndFieldsNamingThem) {
  const std::pair<Json, const char*> cases[] = {
      {{{"type", "dynamic"}, {"factor", 2}}, "dynamic"},
      {{{"rope_type", "mrope"}}, "mrope"},
      {{{"type", "default"}, {"mrope_section", {1, 2}}}, "rope_scaling.mrope_section"},
      {{{"type", "linear"}, {"factor", 2}, {"beta_fast", 2}}, "rope_scaling.beta_fast"},
      {{{"type", "default"}, {"partial_rotary_factor", 0.5}}, "partial_rotary_factor"},
  };
  for (const auto& [scaling, text] : cases) {
    EXPECT_THAT(ParseScaling(scaling),
                StatusIs(kUnimplemented, AllOf(HasSubstr("c.json"), HasSubstr(text))));
  }
  EXPECT_THAT(ParseScaling({{"type", "yarn"}, {"factor", 2}}, /*phi3=*/true),
              StatusIs(kUnimplemented, AllOf(HasSubstr("yarn"), HasSubstr("Phi-3"))));
}

TEST(RopeConfigTest, RefusesImpossibleValuesNamingThem) {
  const std::pair<Json, const char*> cases[] = {
      {{{"rope_theta", 0}}, "rope_theta is 0"},
      {{{"rope_theta", "1e4"}}, "rope_theta"},
      {{{"rope_scaling", 3}}, "rope_scaling is 3"},
      {{{"rope_scaling", {{"factor", 2}}}}, "rope_scaling.rope_type is missing"},
      {{{"rope_scaling", {{"type", "linear"}}}}, "rope_scaling.factor is missing"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", -1}}}}, "rope_scaling.factor is -1"},
      {{{"rope_scaling", {{"type", 3}}}}, "rope_scaling.type is 3"},
      {{{"rope_theta", 1}, {"rope_scaling", {{"type", "yarn"}, {"factor", 2}}}}, "rope_theta is 1"},
      {{{"rope_scaling", {{"type", "default"}}}, {"rope_parameters", {{"rope_theta", 5}}}},
       "rope_parameters"},
      {{{"rope_scaling", {{"type", "linear"}, {"rope_type", "yarn"}, {"factor", 2}}}},
       "rope_scaling.type is \"linear\": contradicts rope_type, \"yarn\""},
      {{{"original_max_position_embeddings", 1024}, {"rope_scaling", Llama3()}},
       "original_max_position_embeddings is 512: contradicts"},
  };
  for (const auto& [json, text] : cases) {
    EXPECT_THAT(Parse(json), StatusIs(kInvalid, AllOf(HasSubstr("c.json"), HasSubstr(text))));
  }
}

TEST(RopeConfigTest, TakesLayerTypesOnlyWhereTheyAgree) {
  const Json own = {{"rope_type", "linear"}, {"factor", 2}, {"rope_theta", 7}};
  ASSERT_OK_AND_ASSIGN(
      const RopeConfig rope,
      Parse({{"rope_parameters", {{"full_attention", own}, {"sliding_attention", own}}}}));
  EXPECT_EQ(rope.theta, 7);
  EXPECT_EQ(rope.factor, 2);
  Json other = own;
  other["rope_theta"] = 8;
  EXPECT_THAT(Parse({{"rope_parameters", {{"full_attention", own}, {"sliding_attention", other}}}}),
              StatusIs(kUnimplemented, HasSubstr("rope_parameters")));
}

}  // namespace
}  // namespace kvp
