// What config.json says of rotary positions, RoPE scaling included.

#ifndef KVP_LLM_ROPE_CONFIG_H_
#define KVP_LLM_ROPE_CONFIG_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "llm/json_fields.h"

namespace kvp {

enum class RopeType {
  kDefault,   // the angles of RoFormer
  kLinear,    // all frequencies divided by `factor` (position interpolation, Chen et al., 2023)
  kLlama3,    // low frequencies divided by `factor` (Llama 3.1)
  kYarn,      // a ramp between divided and undivided frequencies (Peng et al., 2023)
  kLongRope,  // each frequency divided by a factor of its own (Ding et al., 2024; "su")
};

// Fields are those that the type uses; others keep their defaults.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  int64_t rotary_dim = 0;  // the first numbers of each head that are rotated; even
  double factor = 1;       // linear, llama3, yarn
  // Length that the model was trained for before it was extended: llama3, yarn, longrope.
  int64_t original_max_positions = 0;
  double attention_factor = 1;  // of cosines and sines: yarn, longrope
  double low_freq_factor = 1;   // llama3
  double high_freq_factor = 1;  // llama3
  double beta_fast = 32;        // yarn
  double beta_slow = 1;         // yarn
  bool truncate = true;         // yarn: the ramp begins and ends at whole dimensions
  // longrope, [rotary_dim / 2]: for sequences up to original_max_positions, and for longer ones.
  std::vector<double> short_factors;
  std::vector<double> long_factors;
};

// What reading RopeConfig takes of the rest of the model.
struct RopeContext {
  int64_t head_dim = 0;
  int64_t max_positions = 0;  // max_position_embeddings
  // Phi-3: only default and longrope, "partial_rotary_factor" allowed, and
  // "original_max_position_embeddings" defaults to 4096.
  bool phi3 = false;
};

// Reads rope_theta, partial_rotary_factor, original_max_position_embeddings, and rope_scaling or,
// as files of transformers 5 spell it, rope_parameters, which may hold the former three too.
// INVALID_ARGUMENT for missing or impossible values, UNIMPLEMENTED for unknown types and fields,
// naming file, field and value.
absl::StatusOr<RopeConfig> ParseRopeConfig(const JsonFields& config, const RopeContext& context);

}  // namespace kvp

#endif  // KVP_LLM_ROPE_CONFIG_H_
