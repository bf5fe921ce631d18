#include "llm/tiny_model.h"

#include <cmath>
#include <random>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "llm/byte_level.h"
#include "util/file.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

// Not torch's generator, whose numbers may change from version to version.
at::Tensor Random(std::mt19937_64& random, const std::vector<int64_t>& shape, float mean,
                  float deviation) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  std::normal_distribution<float> normal(mean, deviation);
  float* values = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = normal(random);
  return tensor;
}

const char* DtypeName(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return "bfloat16";
  return dtype == at::kHalf ? "float16" : "float32";
}

// The fields that set an architecture apart, with its plainest values.
Json FamilyConfig(const std::string& architecture) {
  if (architecture == "MistralForCausalLM") {
    return {{"model_type", "mistral"}, {"sliding_window", nullptr}};
  }
  if (architecture == "Qwen2ForCausalLM") {
    return {{"model_type", "qwen2"},
            {"use_sliding_window", false},
            {"sliding_window", 8},
            {"max_window_layers", 1}};
  }
  if (architecture == "Qwen3ForCausalLM") {
    return {{"model_type", "qwen3"},
            {"attention_bias", false},
            {"use_sliding_window", false},
            {"sliding_window", 8},
            {"max_window_layers", 1}};
  }
  if (architecture == "Phi3ForCausalLM") {
    return {{"model_type", "phi3"},
            {"sliding_window", nullptr},
            {"resid_pdrop", 0.1},
            {"original_max_position_embeddings", 1024}};
  }
  return {{"model_type", "llama"}, {"attention_bias", false}, {"mlp_bias", false}};
}

Json Config(const TinyModelOptions& options) {
  Json config = {
      {"architectures", {options.architecture}},
      {"vocab_size", options.vocab_size},
      {"hidden_size", options.hidden_size},
      {"intermediate_size", options.intermediate_size},
      {"num_hidden_layers", options.layers},
      {"num_attention_heads", options.query_heads},
      {"num_key_value_heads", options.kv_heads},
      {"head_dim", options.head_dim},
      {"max_position_embeddings", 1024},
      {"rms_norm_eps", 1e-5},
      {"rope_theta", 10000.0},
      {"rope_scaling", nullptr},
      {"hidden_act", "silu"},
      {"tie_word_embeddings", options.tied},
      {"eos_token_id", 0},
      {"torch_dtype", DtypeName(options.dtype)},
  };
  // Not merge_patch: a null of FamilyConfig is a value.
  config.update(FamilyConfig(options.architecture));
  config.merge_patch(options.config);
  return config;
}

// Makes the tensors of one model.
class TensorMaker {
 public:
  explicit TensorMaker(const TinyModelOptions& options)
      : options_(options), config_(Config(options)), random_(options.seed) {}

  std::map<std::string, at::Tensor> Make() {
    AddMatrix("model.embed_tokens.weight", options_.vocab_size, options_.hidden_size, 3);
    for (int64_t layer = 0; layer < options_.layers; ++layer) {
      AddLayer(absl::StrCat("model.layers.", layer, "."));
    }
    AddNorm("model.norm.weight", options_.hidden_size);
    if (!options_.tied) {
      AddMatrix("lm_head.weight", options_.vocab_size, options_.hidden_size, 2);
    }
    return std::move(tensors_);
  }

 private:
  bool Is(const char* architecture) const { return options_.architecture == architecture; }

  void AddLayer(const std::string& prefix) {
    const int64_t query_rows = options_.query_heads * options_.head_dim;
    const int64_t kv_rows = options_.kv_heads * options_.head_dim;
    const int64_t hidden = options_.hidden_size;
    const int64_t intermediate = options_.intermediate_size;
    const bool attention_bias = config_.value("attention_bias", false);
    const bool mlp_bias = config_.value("mlp_bias", false);
    const bool fused = Is("Phi3ForCausalLM");
    AddNorm(prefix + "input_layernorm.weight", hidden);
    if (fused) {
      AddProjection(prefix + "self_attn.qkv_proj", query_rows + 2 * kv_rows, hidden, 1.5, false);
    } else {
      const bool bias = attention_bias || Is("Qwen2ForCausalLM");
      AddProjection(prefix + "self_attn.q_proj", query_rows, hidden, 1.5, bias);
      AddProjection(prefix + "self_attn.k_proj", kv_rows, hidden, 1.5, bias);
      AddProjection(prefix + "self_attn.v_proj", kv_rows, hidden, 1, bias);
    }
    if (Is("Qwen3ForCausalLM")) {
      AddNorm(prefix + "self_attn.q_norm.weight", options_.head_dim);
      AddNorm(prefix + "self_attn.k_norm.weight", options_.head_dim);
    }
    AddProjection(prefix + "self_attn.o_proj", hidden, query_rows, 1, attention_bias);
    AddNorm(prefix + "post_attention_layernorm.weight", hidden);
    if (fused) {
      AddProjection(prefix + "mlp.gate_up_proj", 2 * intermediate, hidden, 1, false);
    } else {
      AddProjection(prefix + "mlp.gate_proj", intermediate, hidden, 1, mlp_bias);
      AddProjection(prefix + "mlp.up_proj", intermediate, hidden, 1, mlp_bias);
    }
    AddProjection(prefix + "mlp.down_proj", hidden, intermediate, 1, mlp_bias);
  }

  // Large enough for attention to be uneven.
  void AddMatrix(const std::string& name, int64_t rows, int64_t columns, double gain) {
    const float deviation = static_cast<float>(gain / std::sqrt(static_cast<double>(columns)));
    tensors_[name] = Random(random_, {rows, columns}, 0, deviation).to(options_.dtype);
  }
  void AddProjection(const std::string& module, int64_t rows, int64_t columns, double gain,
                     bool bias) {
    AddMatrix(module + ".weight", rows, columns, gain);
    if (bias) tensors_[module + ".bias"] = Random(random_, {rows}, 0, 0.5f).to(options_.dtype);
  }
  void AddNorm(const std::string& name, int64_t size) {
    tensors_[name] = Random(random_, {size}, 1, 0.2f).to(options_.dtype);
  }

  const TinyModelOptions& options_;
  const Json config_;
  std::mt19937_64 random_;
  std::map<std::string, at::Tensor> tensors_;
};

TinyModelOptions Options(const std::string& architecture, Json config = Json::object()) {
  TinyModelOptions options;
  options.architecture = architecture;
  options.config = std::move(config);
  return options;
}

}  // namespace

std::vector<TinyFamily> TinyFamilies() {
  std::vector<TinyFamily> families = {
      {"llama", Options("LlamaForCausalLM")},
      {"llama_biases", Options("LlamaForCausalLM", {{"attention_bias", true}, {"mlp_bias", true}})},
      {"llama_linear",
       Options("LlamaForCausalLM", {{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}})},
      {"llama3", Options("LlamaForCausalLM", {{"rope_scaling",
                                               {{"rope_type", "llama3"},
                                                {"factor", 8.0},
                                                {"low_freq_factor", 1.0},
                                                {"high_freq_factor", 4.0},
                                                {"original_max_position_embeddings", 64}}}})},
      {"mistral", Options("MistralForCausalLM", {{"sliding_window", 8}})},
      {"qwen2", Options("Qwen2ForCausalLM")},
      {"qwen2_yarn",
       Options("Qwen2ForCausalLM",
               {{"rope_scaling",
                 {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 256}}}})},
      {"qwen2_window", Options("Qwen2ForCausalLM", {{"use_sliding_window", true}})},
      {"qwen3", Options("Qwen3ForCausalLM")},
      {"phi3", Options("Phi3ForCausalLM", {{"sliding_window", 8}})},
      {"phi3_longrope",
       Options("Phi3ForCausalLM", {{"partial_rotary_factor", 0.75},
                                   {"original_max_position_embeddings", 256},
                                   {"rope_scaling",
                                    {{"type", "longrope"},
                                     {"short_factor", {1.0, 1.05, 1.1, 1.3, 1.7, 2.0}},
                                     {"long_factor", {1.0, 1.2, 2.5, 6.0, 15.0, 30.0}}}}})},
  };
  for (TinyFamily& family : families) {
    // Small models of Llama 3.2, Qwen and Phi-4 tie their embeddings.
    family.options.tied =
        family.name == "llama3" || family.name == "qwen3" || family.name == "phi3_longrope";
  }
  return families;
}

std::map<std::string, at::Tensor> TinyModelTensors(const TinyModelOptions& options) {
  return TensorMaker(options).Make();
}

absl::Status WriteTinyWeights(const std::string& directory, int files,
                              const std::map<std::string, at::Tensor>& tensors) {
  if (files == 1) {
    return WriteTensors(absl::StrCat(directory, "/model.safetensors"), tensors, {{"format", "pt"}});
  }
  std::vector<std::map<std::string, at::Tensor>> parts(files);
  Json index = {{"metadata", Json::object()}, {"weight_map", Json::object()}};
  const auto name_of = [&](int part) {
    return absl::StrFormat("model-%05d-of-%05d.safetensors", part + 1, files);
  };
  int part = 0;
  for (const auto& [name, tensor] : tensors) {
    parts[part][name] = tensor;
    index["weight_map"][name] = name_of(part);
    part = (part + 1) % files;
  }
  for (int i = 0; i < files; ++i) {
    RETURN_IF_ERROR(WriteTensors(absl::StrCat(directory, "/", name_of(i)), parts[i]));
  }
  return WriteFileAtomically(absl::StrCat(directory, "/model.safetensors.index.json"),
                             {index.dump()});
}

std::string TinyTokenizerJson() {
  Json vocabulary = {{"<|endoftext|>", 0}};
  int id = 1;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[ByteLevelOfBytes(std::string(1, static_cast<char>(byte)))] = id++;
  }
  Json merges = Json::array();
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{
           {"h", "e"}, {"Ġ", "t"}, {"Ġt", "he"}, {"i", "n"}, {"Ġ", "a"}, {"e", "r"}}) {
    merges.push_back(absl::StrCat(left, " ", right));
    vocabulary[left + right] = id++;
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  const Json end_of_text = {
      {"id", 0},         {"content", "<|endoftext|>"}, {"single_word", false}, {"lstrip", false},
      {"rstrip", false}, {"normalized", false},        {"special", true}};
  const Json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", Json::array({end_of_text})},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor", nullptr},
      {"decoder", byte_level},
      {"model", {{"type", "BPE"}, {"dropout", nullptr}, {"vocab", vocabulary}, {"merges", merges}}},
  };
  return tokenizer.dump();
}

absl::Status WriteTinyModel(const std::string& directory, const TinyModelOptions& options) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(directory, "/config.json"), {Config(options).dump(2)}));
  RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(directory, "/tokenizer.json"), {TinyTokenizerJson()}));
  return WriteTinyWeights(directory, options.files, TinyModelTensors(options));
}

}  // namespace kvp
