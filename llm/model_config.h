// config.json of a model directory in Hugging Face layout.

#ifndef KVP_LLM_MODEL_CONFIG_H_
#define KVP_LLM_MODEL_CONFIG_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/rope_config.h"

namespace kvp {

// What the decoder needs to know of a model. Field names are config.json's where it has them.
struct ModelConfig {
  // LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM or Phi3ForCausalLM.
  std::string architecture;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;       // num_hidden_layers
  int64_t query_heads = 0;  // num_attention_heads
  int64_t kv_heads = 0;     // num_key_value_heads
  int64_t head_dim = 0;
  int64_t max_positions = 0;  // max_position_embeddings
  double rms_norm_eps = 0;
  RopeConfig rope;
  bool tie_word_embeddings = false;
  bool query_key_value_bias = false;   // of q_proj, k_proj and v_proj
  bool attention_output_bias = false;  // of o_proj
  bool mlp_bias = false;               // of gate_proj, up_proj and down_proj
  bool query_key_norm = false;         // every head of queries and keys is normalised before RoPE
  bool fused_projections = false;      // the file has qkv_proj and gate_up_proj
  // Sliding windows by layer: a query at position p sees the entries at positions above p - window.
  // 0: all. Empty: 0 everywhere.
  std::vector<int64_t> windows;
  // Tokens that end a generation: config.json's and generation_config.json's eos_token_id; may be
  // empty.
  std::vector<int64_t> eos_token_ids;
  int64_t bos_token_id = -1;  // -1: none

  int64_t query_group() const { return query_heads / kv_heads; }
  int64_t heads() const { return layers * kv_heads; }
  int64_t window(int64_t layer) const { return windows.empty() ? 0 : windows[layer]; }
  // The longest sequence that the model runs where nobody says otherwise: max_positions, but with
  // longrope the length up to which its short factors are right.
  int64_t default_max_model_len() const {
    return rope.type == RopeType::kLongRope ? std::min(max_positions, rope.original_max_positions)
                                            : max_positions;
  }
  // What `wanted` asks for, 0 being the default.
  int64_t max_model_len(int64_t wanted) const {
    return wanted > 0 ? wanted : default_max_model_len();
  }
};

// Parses config.json's text; `path` is for messages. INVALID_ARGUMENT, naming file, field and
// value, where a field is missing, of the wrong type or impossible; UNIMPLEMENTED, naming it, for
// an architecture or a field that would change the maths and isn't supported.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& path);

// Reads `directory`/config.json, and generation_config.json where there is one. NOT_FOUND where
// config.json isn't there; else errors as above.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& directory);

}  // namespace kvp

#endif  // KVP_LLM_MODEL_CONFIG_H_
