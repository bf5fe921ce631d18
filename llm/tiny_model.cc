#include "llm/tiny_model.h"

#include <cmath>
#include <random>
#include <vector>

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

Json Config(const TinyModelOptions& options) {
  Json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
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
      {"attention_bias", false},
      {"tie_word_embeddings", options.tied},
      {"eos_token_id", 0},
      {"torch_dtype", DtypeName(options.dtype)},
  };
  config.merge_patch(options.config);
  return config;
}

}  // namespace

std::map<std::string, at::Tensor> TinyModelTensors(const TinyModelOptions& options) {
  std::mt19937_64 random(options.seed);
  std::map<std::string, at::Tensor> tensors;
  const auto add_matrix = [&](const std::string& name, int64_t rows, int64_t columns, double gain) {
    const float deviation = static_cast<float>(gain / std::sqrt(static_cast<double>(columns)));
    tensors[name] = Random(random, {rows, columns}, 0, deviation).to(options.dtype);
  };
  const auto add_norm = [&](const std::string& name) {
    tensors[name] = Random(random, {options.hidden_size}, 1, 0.2f).to(options.dtype);
  };
  add_matrix("model.embed_tokens.weight", options.vocab_size, options.hidden_size, 3);
  for (int64_t layer = 0; layer < options.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    const int64_t query_rows = options.query_heads * options.head_dim;
    const int64_t kv_rows = options.kv_heads * options.head_dim;
    add_norm(prefix + "input_layernorm.weight");
    add_matrix(prefix + "self_attn.q_proj.weight", query_rows, options.hidden_size, 1.5);
    add_matrix(prefix + "self_attn.k_proj.weight", kv_rows, options.hidden_size, 1.5);
    add_matrix(prefix + "self_attn.v_proj.weight", kv_rows, options.hidden_size, 1);
    add_matrix(prefix + "self_attn.o_proj.weight", options.hidden_size, query_rows, 1);
    add_norm(prefix + "post_attention_layernorm.weight");
    add_matrix(prefix + "mlp.gate_proj.weight", options.intermediate_size, options.hidden_size, 1);
    add_matrix(prefix + "mlp.up_proj.weight", options.intermediate_size, options.hidden_size, 1);
    add_matrix(prefix + "mlp.down_proj.weight", options.hidden_size, options.intermediate_size, 1);
  }
  add_norm("model.norm.weight");
  if (!options.tied) {
    add_matrix("lm_head.weight", options.vocab_size, options.hidden_size, 2);
  }
  return tensors;
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
