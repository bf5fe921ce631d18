#include "llm/model_config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

Json Valid() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 1000},
          {"hidden_size", 192},
          {"intermediate_size", 512},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 6},
          {"num_key_value_heads", 2},
          {"max_position_embeddings", 1024},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 500000},
          {"hidden_act", "silu"},
          {"torch_dtype", "bfloat16"}};
}

Json With(const char* field, Json value) {
  Json config = Valid();
  config[field] = std::move(value);
  return config;
}

Json Without(const char* field) {
  Json config = Valid();
  config.erase(field);
  return config;
}

absl::StatusOr<ModelConfig> Parse(const Json& json) {
  return ParseModelConfig(json.dump(), "dir/config.json");
}

TEST(ModelConfigTest, ReadsEveryField) {
  Json json = Valid();
  json["tie_word_embeddings"] = true;
  json["head_dim"] = 64;
  json["bos_token_id"] = 3;
  json["eos_token_id"] = 7;
  json["rope_scaling"] = nullptr;
  json["some_field_of_a_later_version"] = "x";
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, Parse(json));
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.vocab_size, 1000);
  EXPECT_EQ(config.hidden_size, 192);
  EXPECT_EQ(config.intermediate_size, 512);
  EXPECT_EQ(config.layers, 4);
  EXPECT_EQ(config.query_heads, 6);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.query_group(), 3);
  EXPECT_EQ(config.heads(), 8);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.max_positions, 1024);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope.theta, 500000);
  EXPECT_EQ(config.rope.type, RopeType::kDefault);
  EXPECT_EQ(config.rope.rotary_dim, 64);
  EXPECT_EQ(config.default_max_model_len(), 1024);
  EXPECT_THAT(config.windows, ElementsAre(0, 0, 0, 0));
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token_id, 3);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(7));
}

TEST(ModelConfigTest, FillsInLlamasDefaults) {
  Json json = Valid();
  for (const char* field : {"num_key_value_heads", "rope_theta", "hidden_act", "model_type"}) {
    json.erase(field);
  }
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, Parse(json));
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.kv_heads, 6);
  EXPECT_EQ(config.rope.theta, 10000);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token_id, -1);
  EXPECT_THAT(config.eos_token_ids, IsEmpty());
}

TEST(ModelConfigTest, TakesBothSpellingsOfTheDtype) {
  Json json = Without("torch_dtype");
  json["dtype"] = "float16";
  EXPECT_OK(Parse(json));
  json["dtype"] = "float64";
  EXPECT_THAT(Parse(json), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("dtype")));
}

TEST(ModelConfigTest, TakesRopeParametersOfNewerFiles) {
  Json json = Without("rope_theta");
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}};
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, Parse(json));
  EXPECT_EQ(config.rope.theta, 1e6);
}

TEST(ModelConfigTest, RefusesWhatWouldChangeTheMathsNamingFileFieldAndValue) {
  const std::pair<const char*, Json> cases[] = {
      {"architectures", {"MambaForCausalLM"}},
      {"model_type", "qwen3"},
      {"attention_multiplier", 0.1},
      {"logit_scale", 0.5},
      {"rope_interleaved", true},
      {"final_logit_softcapping", 30},
      {"hidden_act", "gelu"},
      {"sliding_window", 4096},
      {"use_sliding_window", true},
      {"quantization_config", {{"bits", 4}}},
      {"partial_rotary_factor", 0.5},
      {"layer_types", {"full_attention", "full_attention", "full_attention", "sliding_attention"}},
  };
  for (const auto& [field, value] : cases) {
    const std::string text = value.is_array() ? value.back().dump() : value.dump();
    EXPECT_THAT(Parse(With(field, value)),
                StatusIs(absl::StatusCode::kUnimplemented,
                         AllOf(HasSubstr("dir/config.json"), HasSubstr(field), HasSubstr(text))));
  }
}

Json Family(const char* architecture, const char* model_type, const Json& fields = {}) {
  Json json = Valid();
  json["architectures"] = {architecture};
  json["model_type"] = model_type;
  for (const auto& [name, value] : fields.items()) json[name] = value;
  return json;
}

TEST(ModelConfigTest, LlamaHasBiasesWhereItSaysSo) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig none, Parse(Valid()));
  EXPECT_FALSE(none.query_key_value_bias || none.attention_output_bias || none.mlp_bias);
  EXPECT_FALSE(none.query_key_norm || none.fused_projections);
  ASSERT_OK_AND_ASSIGN(const ModelConfig attention, Parse(With("attention_bias", true)));
  EXPECT_TRUE(attention.query_key_value_bias && attention.attention_output_bias);
  EXPECT_FALSE(attention.mlp_bias);
  ASSERT_OK_AND_ASSIGN(const ModelConfig mlp, Parse(With("mlp_bias", true)));
  EXPECT_TRUE(mlp.mlp_bias);
}

TEST(ModelConfigTest, MistralsWindowIsEveryLayers) {
  const auto mistral = [](const Json& fields) {
    return Parse(Family("MistralForCausalLM", "mistral", fields));
  };
  ASSERT_OK_AND_ASSIGN(const ModelConfig given, mistral({{"sliding_window", 100}}));
  EXPECT_THAT(given.windows, ElementsAre(100, 100, 100, 100));
  ASSERT_OK_AND_ASSIGN(const ModelConfig null, mistral({{"sliding_window", nullptr}}));
  EXPECT_THAT(null.windows, ElementsAre(0, 0, 0, 0));
  // MistralConfig's default.
  ASSERT_OK_AND_ASSIGN(const ModelConfig missing, mistral(Json::object()));
  EXPECT_EQ(missing.window(3), 4096);
  const auto unimplemented = absl::StatusCode::kUnimplemented;
  EXPECT_THAT(mistral({{"attention_bias", true}}),
              StatusIs(unimplemented, HasSubstr("attention_bias")));
  const Json alternating = {"full_attention", "sliding_attention", "full_attention",
                            "sliding_attention"};
  EXPECT_THAT(mistral({{"sliding_window", 100}, {"layer_types", alternating}}),
              StatusIs(unimplemented, AllOf(HasSubstr("layer_types"), HasSubstr("layer 0"))));
  EXPECT_THAT(mistral({{"sliding_window", 0}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sliding_window")));
}

TEST(ModelConfigTest, QwensWindowIsTheUpperLayersOrThoseNamed) {
  for (const auto& [architecture, type] :
       {std::pair("Qwen2ForCausalLM", "qwen2"), std::pair("Qwen3ForCausalLM", "qwen3")}) {
    Json fields = {{"use_sliding_window", false}, {"sliding_window", 50}, {"max_window_layers", 3}};
    ASSERT_OK_AND_ASSIGN(const ModelConfig off, Parse(Family(architecture, type, fields)));
    EXPECT_THAT(off.windows, ElementsAre(0, 0, 0, 0));
    fields["use_sliding_window"] = true;
    ASSERT_OK_AND_ASSIGN(const ModelConfig upper, Parse(Family(architecture, type, fields)));
    EXPECT_THAT(upper.windows, ElementsAre(0, 0, 0, 50));
    fields["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention",
                             "full_attention"};
    ASSERT_OK_AND_ASSIGN(const ModelConfig named, Parse(Family(architecture, type, fields)));
    EXPECT_THAT(named.windows, ElementsAre(50, 0, 50, 0));
    fields["use_sliding_window"] = false;
    EXPECT_THAT(Parse(Family(architecture, type, fields)),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("layer_types")));
    fields["layer_types"] = {"full_attention"};
    EXPECT_THAT(Parse(Family(architecture, type, fields)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer_types")));
    fields["layer_types"] = {"chunked_attention", "full_attention", "full_attention",
                             "full_attention"};
    EXPECT_THAT(Parse(Family(architecture, type, fields)),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("chunked_attention")));
  }
}

TEST(ModelConfigTest, QwensDifferInBiasesNormsAndTheDefaultOfHeadDim) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig qwen2, Parse(Family("Qwen2ForCausalLM", "qwen2")));
  EXPECT_TRUE(qwen2.query_key_value_bias);
  EXPECT_FALSE(qwen2.attention_output_bias || qwen2.mlp_bias || qwen2.query_key_norm);
  EXPECT_EQ(qwen2.head_dim, 32);
  ASSERT_OK_AND_ASSIGN(const ModelConfig qwen3, Parse(Family("Qwen3ForCausalLM", "qwen3")));
  EXPECT_FALSE(qwen3.query_key_value_bias || qwen3.attention_output_bias || qwen3.mlp_bias);
  EXPECT_TRUE(qwen3.query_key_norm);
  EXPECT_EQ(qwen3.head_dim, 128);
  ASSERT_OK_AND_ASSIGN(const ModelConfig biased,
                       Parse(Family("Qwen3ForCausalLM", "qwen3", {{"attention_bias", true}})));
  EXPECT_TRUE(biased.query_key_value_bias && biased.attention_output_bias);
}

TEST(ModelConfigTest, OnlySomeFamiliesHaveADefaultOfKvHeads) {
  for (const auto& [architecture, type] :
       {std::pair("MistralForCausalLM", "mistral"), std::pair("Qwen2ForCausalLM", "qwen2"),
        std::pair("Qwen3ForCausalLM", "qwen3"), std::pair("Phi3ForCausalLM", "phi3")}) {
    Json json = Family(architecture, type, {{"num_key_value_heads", nullptr}});
    ASSERT_OK_AND_ASSIGN(const ModelConfig null, Parse(json));
    EXPECT_EQ(null.kv_heads, 6);
    json.erase("num_key_value_heads");
    if (std::string(type) == "phi3") {
      ASSERT_OK_AND_ASSIGN(const ModelConfig missing, Parse(json));
      EXPECT_EQ(missing.kv_heads, 6);
    } else {
      EXPECT_THAT(Parse(json), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("num_key_value_heads is missing")));
    }
  }
}

TEST(ModelConfigTest, Phi3IsFusedAndMayRotateAPartOfTheHead) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig config,
                       Parse(Family("Phi3ForCausalLM", "phi3", {{"partial_rotary_factor", 0.75}})));
  EXPECT_TRUE(config.fused_projections);
  EXPECT_EQ(config.rope.rotary_dim, 24);
  EXPECT_THAT(config.windows, ElementsAre(0, 0, 0, 0));
  for (const double factor : {0.0, 0.72, 1.5}) {
    EXPECT_THAT(Parse(Family("Phi3ForCausalLM", "phi3", {{"partial_rotary_factor", factor}})),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("partial_rotary_factor")));
  }
}

TEST(ModelConfigTest, RefusesMissingFieldsNamingThem) {
  for (const char* field :
       {"architectures", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "max_position_embeddings", "rms_norm_eps"}) {
    EXPECT_THAT(Parse(Without(field)), StatusIs(absl::StatusCode::kInvalidArgument,
                                                AllOf(HasSubstr("dir/config.json"),
                                                      HasSubstr(field), HasSubstr("missing"))));
  }
}

TEST(ModelConfigTest, RefusesImpossibleValuesNamingThem) {
  const std::pair<const char*, Json> cases[] = {
      {"architectures", "LlamaForCausalLM"},
      {"vocab_size", "1000"},
      {"vocab_size", 1000.5},
      {"vocab_size", 0},
      {"hidden_size", -1},
      {"hidden_size", 193},
      {"num_hidden_layers", 18446744073709551615u},
      {"num_attention_heads", 0},
      {"num_key_value_heads", 4},
      {"num_key_value_heads", 12},
      {"head_dim", 33},
      {"rms_norm_eps", "1e-6"},
      {"rms_norm_eps", -1},
      {"rope_theta", 0},
      {"tie_word_embeddings", 1},
      {"attention_bias", "no"},
      {"hidden_act", 3},
      {"eos_token_id", "</s>"},
      {"eos_token_id", {1, 1000}},
      {"eos_token_id", -1},
      {"bos_token_id", 1000},
  };
  for (const auto& [field, value] : cases) {
    EXPECT_THAT(
        Parse(With(field, value)),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("dir/config.json"), HasSubstr(field), HasSubstr(value.dump()))));
  }
}

TEST(ModelConfigTest, RefusesTextThatIsNoObject) {
  for (const char* text : {"", "{", "[]", "3", "\xff", "{\"vocab_size\": 1e999}"}) {
    EXPECT_THAT(ParseModelConfig(text, "c.json"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("c.json")));
  }
}

TEST(ModelConfigTest, MergesEndTokensOfTheGenerationConfig) {
  const std::string directory = testing::TempDir() + "/merges_end_tokens";
  ASSERT_OK(MakeDirectories(directory));
  ASSERT_OK(WriteFileAtomically(directory + "/config.json", {With("eos_token_id", {5, 6}).dump()}));
  ASSERT_OK(
      WriteFileAtomically(directory + "/generation_config.json", {R"({"eos_token_id": [6, 9]})"}));
  ASSERT_OK_AND_ASSIGN(ModelConfig config, LoadModelConfig(directory));
  EXPECT_THAT(config.eos_token_ids, ElementsAre(5, 6, 9));

  ASSERT_OK(
      WriteFileAtomically(directory + "/generation_config.json", {R"({"eos_token_id": "end"})"}));
  EXPECT_THAT(LoadModelConfig(directory),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("generation_config.json"), HasSubstr("eos_token_id"),
                             HasSubstr("end"))));
}

TEST(ModelConfigTest, SaysWhichFileIsMissing) {
  EXPECT_THAT(LoadModelConfig("/nowhere"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/config.json")));
}

}  // namespace
}  // namespace kvp
