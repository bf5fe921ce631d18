// The model families that the decoder runs, and the switches by which their config.json sets them
// apart.

#ifndef KVP_LLM_MODEL_FAMILY_H_
#define KVP_LLM_MODEL_FAMILY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "llm/json_fields.h"
#include "llm/model_config.h"

namespace kvp {

enum class WindowRule {
  kNone,         // no layer has a sliding window
  kAllLayers,    // "sliding_window" is every layer's
  kUpperLayers,  // with "use_sliding_window", layers from "max_window_layers" on, or "layer_types"
};

// What an architecture is, beyond what its config.json says.
struct ModelFamily {
  const char* architecture;
  const char* model_type;
  bool reads_attention_bias = false;  // "attention_bias": biases of all four projections
  bool reads_mlp_bias = false;        // "mlp_bias"
  bool query_key_value_bias = false;  // always there
  bool query_key_norm = false;        // RMSNorm of every query and key head
  bool fused_projections = false;     // qkv_proj and gate_up_proj are one tensor each
  WindowRule window_rule = WindowRule::kNone;
  int64_t default_window = 0;    // where "sliding_window" isn't mentioned
  int64_t default_head_dim = 0;  // 0: hidden_size / num_attention_heads
  // Whether a missing "num_key_value_heads" means as many as query heads.
  bool kv_heads_default_to_query_heads = false;
};

// The family that "architectures" names. INVALID_ARGUMENT where it isn't a list of one name;
// UNIMPLEMENTED for others, or a "model_type" of another family.
absl::StatusOr<ModelFamily> FamilyOf(const JsonFields& fields);

// Sets the biases, norms and windows of `config`, whose sizes are set. Errors as
// ParseModelConfig's; UNIMPLEMENTED also for fields, known from other models, that would change the
// maths.
absl::Status ReadFamilyFields(const ModelFamily& family, const JsonFields& fields,
                              ModelConfig& config);

}  // namespace kvp

#endif  // KVP_LLM_MODEL_FAMILY_H_
