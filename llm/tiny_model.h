// For tests: tiny random checkpoints of every model family in Hugging Face layout.

#ifndef KVP_LLM_TINY_MODEL_H_
#define KVP_LLM_TINY_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace kvp {

struct TinyModelOptions {
  std::string architecture = "LlamaForCausalLM";  // any that model_config.h lists
  int64_t vocab_size = 300;
  int64_t hidden_size = 32;
  int64_t intermediate_size = 48;
  int64_t layers = 2;
  int64_t query_heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 16;
  bool tied = false;
  at::ScalarType dtype = at::kFloat;  // of the file's tensors
  // Files over which the tensors are spread, with an index; 1: model.safetensors alone.
  int files = 1;
  uint64_t seed = 1;
  // Merged into config.json, replacing what is there; a null removes a field. "attention_bias" and
  // "mlp_bias" also give the model those tensors.
  nlohmann::json config = nlohmann::json::object();
};

struct TinyFamily {
  std::string name;  // letters, digits and underscores
  TinyModelOptions options;
};

// Every family that the decoder runs, with each switch that it has: biases, norms, tied embeddings,
// sliding windows of 8 entries, RoPE scaling.
std::vector<TinyFamily> TinyFamilies();

// The tensors of such a model by their names in Hugging Face's files, large enough for attention to
// be uneven.
std::map<std::string, at::Tensor> TinyModelTensors(const TinyModelOptions& options);

// Creates `directory` with config.json, the weights and a tokenizer.json of the 256 bytes, a few
// merges and, as token 0, "<|endoftext|>".
absl::Status WriteTinyModel(const std::string& directory, const TinyModelOptions& options = {});

// Writes only the weights.
absl::Status WriteTinyWeights(const std::string& directory, int files,
                              const std::map<std::string, at::Tensor>& tensors);

// The text of that tokenizer.json.
std::string TinyTokenizerJson();

}  // namespace kvp

#endif  // KVP_LLM_TINY_MODEL_H_
