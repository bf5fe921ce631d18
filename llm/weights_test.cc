#include "llm/weights.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "llm/checkpoint.h"
#include "llm/model_config.h"
#include "llm/tiny_model.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Bytes of /proc/self/status's field: "RssAnon" is memory of our own, "RssFile" mapped files.
int64_t StatusBytes(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field + ":", 0) == 0) return std::stoll(line.substr(field.size() + 1)) * 1024;
  }
  ADD_FAILURE() << field;
  return 0;
}

// The largest memory that is taken while it lives.
class PeakMemory {
 public:
  PeakMemory() : thread_([this] { Watch(); }) {}
  ~PeakMemory() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int64_t own_bytes() const { return own_bytes_; }
  int64_t file_bytes() const { return file_bytes_; }

 private:
  void Watch() {
    while (!stop_) {
      own_bytes_ = std::max(own_bytes_, StatusBytes("RssAnon"));
      file_bytes_ = std::max(file_bytes_, StatusBytes("RssFile"));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  std::atomic<bool> stop_ = false;
  int64_t own_bytes_ = 0;
  int64_t file_bytes_ = 0;
  std::thread thread_;
};

// A Llama of this geometry, all its bf16 weights 1; in `files` files. Returns their bytes.
absl::StatusOr<int64_t> WriteLargeModel(const std::string& directory, const ModelConfig& config,
                                        int files) {
  const int64_t query_rows = config.query_heads * config.head_dim;
  const int64_t kv_rows = config.kv_heads * config.head_dim;
  const int64_t hidden = config.hidden_size;
  std::map<std::string, std::vector<int64_t>> shapes = {
      {"model.embed_tokens.weight", {config.vocab_size, hidden}},
      {"lm_head.weight", {config.vocab_size, hidden}},
      {"model.norm.weight", {hidden}}};
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    shapes[prefix + "input_layernorm.weight"] = {hidden};
    shapes[prefix + "self_attn.q_proj.weight"] = {query_rows, hidden};
    shapes[prefix + "self_attn.k_proj.weight"] = {kv_rows, hidden};
    shapes[prefix + "self_attn.v_proj.weight"] = {kv_rows, hidden};
    shapes[prefix + "self_attn.o_proj.weight"] = {hidden, query_rows};
    shapes[prefix + "post_attention_layernorm.weight"] = {hidden};
    shapes[prefix + "mlp.gate_proj.weight"] = {config.intermediate_size, hidden};
    shapes[prefix + "mlp.up_proj.weight"] = {config.intermediate_size, hidden};
    shapes[prefix + "mlp.down_proj.weight"] = {hidden, config.intermediate_size};
  }
  // One buffer for all of them: what was freed before must not serve the loading later.
  std::string ones;
  int64_t total = 0;
  std::vector<std::map<std::string, SafetensorsEntry>> parts(files);
  nlohmann::json index = {{"weight_map", nlohmann::json::object()}};
  const auto name_of = [&](size_t part) {
    return absl::StrFormat("model-%05d-of-%05d.safetensors", part + 1, files);
  };
  const auto bytes_of = [](const std::vector<int64_t>& shape) {
    int64_t bytes = 2;
    for (const int64_t size : shape) bytes *= size;
    return bytes;
  };
  for (const auto& [name, shape] : shapes) {
    while (static_cast<int64_t>(ones.size()) < bytes_of(shape)) ones += "\x80\x3f";
  }
  size_t part = 0;
  for (const auto& [name, shape] : shapes) {
    parts[part][name] = {"BF16", shape, absl::string_view(ones).substr(0, bytes_of(shape))};
    index["weight_map"][name] = name_of(part);
    total += bytes_of(shape);
    part = (part + 1) % parts.size();
  }
  RETURN_IF_ERROR(MakeDirectories(directory));
  for (size_t i = 0; i < parts.size(); ++i) {
    RETURN_IF_ERROR(WriteSafetensors(absl::StrCat(directory, "/", name_of(i)), parts[i]));
  }
  RETURN_IF_ERROR(WriteFileAtomically(directory + "/model.safetensors.index.json", {index.dump()}));
  return total;
}

TEST(WeightsTest, TheModelIsNeverHeldTwice) {
  ModelConfig config;
  config.vocab_size = 8000;
  config.hidden_size = 1024;
  config.intermediate_size = 4096;
  config.layers = 6;
  config.query_heads = 16;
  config.kv_heads = 4;
  config.head_dim = 64;
  const std::string directory = testing::TempDir() + "/never_held_twice";
  ASSERT_OK_AND_ASSIGN(const int64_t bytes, WriteLargeModel(directory, config, 3));
  ASSERT_GT(bytes, 150 << 20);
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(directory));
  malloc_trim(0);
  const int64_t own_before = StatusBytes("RssAnon");
  const int64_t file_before = StatusBytes("RssFile");
  PeakMemory peak;
  const std::vector<at::Device> devices(config.layers, at::Device(at::kCPU));
  ASSERT_OK_AND_ASSIGN(const Weights weights,
                       LoadWeights(config, *checkpoint, at::kBFloat16, devices));
  checkpoint->Fingerprint("");
  peak.Stop();
  EXPECT_EQ(weights.layers[5].down.sum().item<float>(), 4194304);
  const double own = static_cast<double>(peak.own_bytes() - own_before);
  const double file = static_cast<double>(peak.file_bytes() - file_before);
  RecordProperty("own_bytes_per_weight_byte", absl::StrCat(own / static_cast<double>(bytes)));
  RecordProperty("file_bytes_per_weight_byte", absl::StrCat(file / static_cast<double>(bytes)));
  EXPECT_GT(own, 0.95 * static_cast<double>(bytes));
  EXPECT_LT(own, 1.15 * static_cast<double>(bytes));
  // At most the largest of the tensors, and pages that are read ahead.
  EXPECT_LT(file, 0.2 * static_cast<double>(bytes));
  for (int part = 1; part <= 3; ++part) {
    std::remove(absl::StrFormat("%s/model-%05d-of-00003.safetensors", directory, part).c_str());
  }
}

class FamilyWeightsTest : public testing::Test {
 protected:
  // The status of loading the family's tensors, changed.
  static absl::StatusOr<Weights> Load(
      const std::string& architecture, const std::function<void(TinyModelOptions&)>& change_options,
      const std::function<void(std::map<std::string, at::Tensor>&)>& change_tensors = {}) {
    TinyModelOptions options;
    options.architecture = architecture;
    if (change_options) change_options(options);
    const std::string directory = testing::TempDir() + "/family_weights";
    RETURN_IF_ERROR(WriteTinyModel(directory, options));
    std::map<std::string, at::Tensor> tensors = TinyModelTensors(options);
    if (change_tensors) change_tensors(tensors);
    RETURN_IF_ERROR(WriteTinyWeights(directory, 1, tensors));
    ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(directory));
    ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, Checkpoint::Open(directory));
    const std::vector<at::Device> devices(config.layers, at::Device(at::kCPU));
    return LoadWeights(config, *checkpoint, at::kFloat, devices);
  }
};

TEST_F(FamilyWeightsTest, ATiedModelsOwnLmHeadMustBeTheEmbedding) {
  const auto load = [](double factor) {
    return Load(
        "Qwen3ForCausalLM", [](TinyModelOptions& options) { options.tied = true; },
        [factor](auto& tensors) {
          tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].mul(factor);
        });
  };
  ASSERT_OK_AND_ASSIGN(const Weights weights, load(1));
  EXPECT_EQ(weights.output.data_ptr(), weights.embedding.data_ptr());
  EXPECT_THAT(load(2), StatusIs(absl::StatusCode::kInvalidArgument,
                                AllOf(HasSubstr("model.safetensors: tensor lm_head.weight"),
                                      HasSubstr("tie_word_embeddings"))));
}

TEST_F(FamilyWeightsTest, AMissingOrUnexpectedTensorOfTheFamilyIsNamed) {
  const auto without = [](const std::string& name) {
    return [name](std::map<std::string, at::Tensor>& tensors) {
      EXPECT_EQ(tensors.erase(name), 1) << name;
    };
  };
  const std::string layer = "model.layers.1.";
  const auto missing = absl::StatusCode::kNotFound;
  for (const auto& [architecture, tensor] : std::vector<std::pair<std::string, std::string>>{
           {"Qwen2ForCausalLM", "self_attn.k_proj.bias"},
           {"Qwen3ForCausalLM", "self_attn.q_norm.weight"},
           {"Qwen3ForCausalLM", "self_attn.k_norm.weight"},
           {"Phi3ForCausalLM", "self_attn.qkv_proj.weight"},
           {"Phi3ForCausalLM", "mlp.gate_up_proj.weight"}}) {
    EXPECT_THAT(
        Load(architecture, {}, without(layer + tensor)),
        StatusIs(missing, AllOf(HasSubstr("model.safetensors"), HasSubstr(layer + tensor))));
  }
  const auto biased = [](TinyModelOptions& options) {
    options.config = {{"attention_bias", true}, {"mlp_bias", true}};
  };
  for (const char* tensor : {"self_attn.o_proj.bias", "mlp.up_proj.bias", "mlp.down_proj.bias"}) {
    EXPECT_THAT(Load("LlamaForCausalLM", biased, without(layer + tensor)),
                StatusIs(missing, HasSubstr(layer + tensor)));
  }
  EXPECT_THAT(
      Load("LlamaForCausalLM", {},
           [&](auto& tensors) {
             tensors[layer + "self_attn.q_norm.weight"] = tensors["model.norm.weight"];
           }),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(layer + "self_attn.q_norm.weight")));
}

}  // namespace
}  // namespace kvp
