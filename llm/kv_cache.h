// The KV cache of one sequence: K and V of every (layer, KV head), with lengths that may differ from head to head once
// entries have been removed.

#ifndef KVP_LLM_KV_CACHE_H_
#define KVP_LLM_KV_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "llm/model_config.h"

namespace kvp {

// Owns its tensors. Copyable: a copy has memory of its own. Not thread-safe.
class KvCache {
 public:
  KvCache(const ModelConfig& config, at::TensorOptions options);
  KvCache(const KvCache& other);
  KvCache& operator=(const KvCache& other);
  KvCache(KvCache&&) = default;
  KvCache& operator=(KvCache&&) = default;

  int64_t layers() const;
  int64_t kv_heads() const;

  // Entries that this head holds.
  int64_t length(int64_t layer, int64_t kv_head) const;
  // Tokens seen so far, removed ones included: the RoPE position of the next token.
  int64_t next_position() const;

  // Post-RoPE K, and V, of one head: [length, head_dim] views, valid until the cache changes.
  at::Tensor keys(int64_t layer, int64_t kv_head) const;
  at::Tensor values(int64_t layer, int64_t kv_head) const;
  // The sequence positions of the head's entries, ascending: int64 [length], on the CPU.
  at::Tensor positions(int64_t layer, int64_t kv_head) const;

  // Keeps the entries at `indices` (int64 [b], ascending, unique, in [0, length)) of one head and frees the memory of
  // all others: nothing of them stays allocated. INVALID_ARGUMENT, naming the head and the value, for other indices.
  absl::Status Keep(int64_t layer, int64_t kv_head, const at::Tensor& indices);

  // Bytes of memory that K and V hold allocated, read from the tensors' storages.
  int64_t allocated_bytes() const;

  // For the decoder: appends `tokens` entries to every head of a layer; keys and values [kv_heads, tokens, head_dim].
  // AdvancePosition is called once a forward pass, after the last layer.
  void Append(int64_t layer, const at::Tensor& keys, const at::Tensor& values);
  void AdvancePosition(int64_t tokens);

 private:
  struct Head {
    at::Tensor keys;       // [length, head_dim], owning exactly that
    at::Tensor values;     // [length, head_dim]
    at::Tensor positions;  // int64 [length], CPU
  };
  std::vector<std::vector<Head>> heads_;  // [layer][kv_head]
  int64_t next_position_ = 0;
};

}  // namespace kvp

#endif  // KVP_LLM_KV_CACHE_H_
