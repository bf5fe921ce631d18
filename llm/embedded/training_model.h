// A Llama decoder that can be trained: forward and backward pass written out,
// without autograd, so that activations are packed, attention stays in cache
// and the linear layers' products run in bf16 where the processor has it.
//
// Its structure is that of Hugging Face's LlamaForCausalLM with grouped-query
// attention and tied embeddings.

#ifndef KVP_LLM_EMBEDDED_TRAINING_MODEL_H_
#define KVP_LLM_EMBEDDED_TRAINING_MODEL_H_

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "llm/embedded/training_kernels.h"

namespace kvp {

struct TrainingModelConfig {
  int64_t vocabulary = 2048;
  int64_t hidden = 192;
  int64_t layers = 4;
  int query_heads = 6;
  int kv_heads = 2;
  int64_t feed_forward = 512;
  int64_t max_positions = 1152;
  float rope_theta = 10000.0f;
  float norm_epsilon = 1e-5f;

  int64_t qkv_dim() const { return (query_heads + 2 * kv_heads) * kHeadDim; }
};

// What predicting the next token at a position counts as.
enum class TargetKind : uint8_t { kIgnored = 0, kText = 1, kAnswer = 2, kCopy = 3 };
inline constexpr int kTargetKinds = 4;

// A training sequence. kinds[t] is about predicting tokens[t + 1] from
// position t; the last one is kIgnored.
struct TrainingSequence {
  std::vector<int32_t> tokens;
  std::vector<TargetKind> kinds;
};

// Sums over targets, by kind.
struct LossSums {
  std::array<double, kTargetKinds> nats = {};
  std::array<int64_t, kTargetKinds> targets = {};
  std::array<int64_t, kTargetKinds> hits = {};

  void Add(const LossSums& other);
  double MeanNats(TargetKind kind) const;
  double Accuracy(TargetKind kind) const;
};

// Indices into the parameters of a model.
struct ParameterIndex {
  static constexpr int kEmbedding = 0;
  static constexpr int kPerLayer = 6;
  enum Role { kInputNorm, kQkv, kOutput, kPostNorm, kGateUp, kDown };

  static int Of(int64_t layer, Role role) { return 1 + static_cast<int>(layer) * kPerLayer + role; }
  static int FinalNorm(int64_t layers) { return 1 + static_cast<int>(layers) * kPerLayer; }
};

// Owns the parameters. ForwardBackward is const: several threads may call it
// at once, each with its own workspace. Functions run on the calling thread
// alone if its at::get_num_threads() is 1.
class TrainingModel {
 public:
  struct Workspace {
    AttentionWorkspace attention;
  };

  // Draws the initial weights from `seed`. `use_bf16` makes the linear layers
  // multiply in bf16 (weights and gradients stay fp32).
  TrainingModel(const TrainingModelConfig& config, uint64_t seed, bool use_bf16);

  const TrainingModelConfig& config() const { return config_; }

  // fp32: the embedding [V, D]; for each layer the input norm [D], the query,
  // key and value projections in one [qkv_dim, D], the output projection
  // [D, D], the post-attention norm [D], gate and up projection in one [2 F,
  // D], the down projection [D, F]; the final norm [D].
  const std::vector<at::Tensor>& parameters() const { return parameters_; }
  std::vector<at::Tensor>& parameters() { return parameters_; }

  // Must be called after parameters have changed.
  void RefreshGemmWeights();

  // Runs sequences one behind the other, each attending to itself only. The
  // loss is the sum over targets of weights[kind] * cross-entropy. Sets
  // `gradients` (one tensor a parameter) unless it is null.
  LossSums ForwardBackward(const std::vector<const TrainingSequence*>& batch,
                           const std::array<float, kTargetKinds>& weights,
                           std::vector<at::Tensor>* gradients, Workspace* workspace) const;

 private:
  at::Tensor ToGemm(const at::Tensor& matrix) const;

  TrainingModelConfig config_;
  at::ScalarType gemm_type_;
  RotaryTable rotary_;
  std::vector<at::Tensor> parameters_;
  // The matrices among them in gemm_type_.
  std::vector<at::Tensor> gemm_weights_;
};

// Whether the processor multiplies bf16 matrices natively.
bool HasNativeBf16();

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_TRAINING_MODEL_H_
