// The weights of a decoder, as the forward pass multiplies with them.

#ifndef KVP_LLM_WEIGHTS_H_
#define KVP_LLM_WEIGHTS_H_

#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "c10/core/Device.h"
#include "llm/checkpoint.h"
#include "llm/model_config.h"

namespace kvp {

// The weights of one layer. Matrices that read the same input lie on top of each other, so that one
// product does. Tensors that a family doesn't have are undefined.
struct LayerWeights {
  at::Tensor attention_norm;         // [hidden]
  at::Tensor query_key_value;        // [(query_heads + 2 kv_heads) * head_dim, hidden]
  at::Tensor query_key_value_bias;   // [(query_heads + 2 kv_heads) * head_dim], or undefined
  at::Tensor query_norm;             // [head_dim], or undefined: RMSNorm of every query head
  at::Tensor key_norm;               // [head_dim], or undefined: RMSNorm of every key head
  at::Tensor attention_output;       // [hidden, query_heads * head_dim]
  at::Tensor attention_output_bias;  // [hidden], or undefined
  at::Tensor mlp_norm;               // [hidden]
  at::Tensor gate_up;                // [2 intermediate, hidden]
  at::Tensor gate_up_bias;           // [2 intermediate], or undefined
  at::Tensor down;                   // [hidden, intermediate]
  at::Tensor down_bias;              // [hidden], or undefined
};

struct Weights {
  at::Tensor embedding;  // [vocab, hidden], on the first layer's device
  std::vector<LayerWeights> layers;
  at::Tensor final_norm;  // [hidden], on the last layer's device, as the following
  at::Tensor output;      // [vocab, hidden]; the embedding itself where they are tied and together
};

// Copies a model's weights out of `checkpoint`, in `dtype`, each layer to its device of
// `layer_devices` (one a layer), tensor by tensor, each leaving the mapped file's memory once it is
// copied: the model is never held twice. Errors as Checkpoint::Get's and CheckAllUsed's; c10::Error
// or std::bad_alloc where memory runs out.
absl::StatusOr<Weights> LoadWeights(const ModelConfig& config, Checkpoint& checkpoint,
                                    at::ScalarType dtype,
                                    absl::Span<const at::Device> layer_devices);

}  // namespace kvp

#endif  // KVP_LLM_WEIGHTS_H_
