#include "llm/embedded/model_export.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::ElementsAre;

class ModelExportTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(vocabulary_,
                         TrainBytePairs("the cat and the hat and the mat", 272, {" ;"}));
    config_.vocabulary = 272;
    config_.layers = 2;
    directory_ = testing::TempDir() + "/exported";
  }

  BytePairVocabulary vocabulary_;
  TrainingModelConfig config_;
  std::string directory_;
};

TEST_F(ModelExportTest, TensorsAreNamedAndShapedAsInHuggingFace) {
  const TrainingModel model(config_, 1, false);
  ASSERT_OK(WriteModelDirectory(directory_, model, vocabulary_));
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(directory_ + "/model.safetensors"));
  EXPECT_EQ(file->entries().size(), 2u + 2 * 9);
  const auto shape = [&file](const std::string& name) { return file->entries().at(name).shape; };
  EXPECT_THAT(shape("model.embed_tokens.weight"), ElementsAre(272, 192));
  EXPECT_THAT(shape("model.layers.1.self_attn.q_proj.weight"), ElementsAre(192, 192));
  EXPECT_THAT(shape("model.layers.1.self_attn.k_proj.weight"), ElementsAre(64, 192));
  EXPECT_THAT(shape("model.layers.1.self_attn.v_proj.weight"), ElementsAre(64, 192));
  EXPECT_THAT(shape("model.layers.1.self_attn.o_proj.weight"), ElementsAre(192, 192));
  EXPECT_THAT(shape("model.layers.0.mlp.gate_proj.weight"), ElementsAre(512, 192));
  EXPECT_THAT(shape("model.layers.0.mlp.up_proj.weight"), ElementsAre(512, 192));
  EXPECT_THAT(shape("model.layers.0.mlp.down_proj.weight"), ElementsAre(192, 512));
  EXPECT_THAT(shape("model.layers.0.input_layernorm.weight"), ElementsAre(192));
  EXPECT_THAT(shape("model.layers.0.post_attention_layernorm.weight"), ElementsAre(192));
  EXPECT_THAT(shape("model.norm.weight"), ElementsAre(192));
}

TEST_F(ModelExportTest, TheConfigurationIsTheModels) {
  ASSERT_OK(WriteModelDirectory(directory_, TrainingModel(config_, 1, false), vocabulary_));
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(directory_ + "/config.json"));
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["architectures"][0], "LlamaForCausalLM");
  EXPECT_EQ(json["vocab_size"], 272);
  EXPECT_EQ(json["num_hidden_layers"], 2);
  EXPECT_EQ(json["num_key_value_heads"], 2);
  EXPECT_EQ(json["head_dim"], 32);
  EXPECT_EQ(json["rope_theta"], 10000.0);
  EXPECT_DOUBLE_EQ(json["rms_norm_eps"], 1e-5);
  EXPECT_EQ(json["tie_word_embeddings"], true);
  ASSERT_OK_AND_ASSIGN(const std::string generation,
                       ReadFile(directory_ + "/generation_config.json"));
  EXPECT_EQ(nlohmann::json::parse(generation)["eos_token_id"], kEndOfTextId);
}

TEST_F(ModelExportTest, RoundingIsWhatTheFileHolds) {
  TrainingModel model(config_, 1, false);
  RoundToBf16(&model);
  for (const at::Tensor& parameter : model.parameters()) {
    EXPECT_TRUE(parameter.to(at::kBFloat16).to(at::kFloat).equal(parameter));
  }
}

}  // namespace
}  // namespace kvp
