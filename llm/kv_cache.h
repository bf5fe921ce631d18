// The KV cache of one sequence: K and V of every (layer, KV head), with lengths that may differ
// from head to head once entries have been removed.

#ifndef KVP_LLM_KV_CACHE_H_
#define KVP_LLM_KV_CACHE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "c10/core/Device.h"
#include "llm/model_config.h"

namespace kvp {

// Owns its tensors. Copyable: a copy has memory of its own, exactly as much as its entries take.
// Not thread-safe.
class KvCache {
 public:
  // All layers on one device.
  KvCache(const ModelConfig& config, at::TensorOptions options);
  // Each layer on its device of `layer_devices`.
  KvCache(const ModelConfig& config, at::ScalarType dtype,
          const std::vector<at::Device>& layer_devices);
  KvCache(const KvCache& other);
  KvCache& operator=(const KvCache& other);
  KvCache(KvCache&&) = default;
  KvCache& operator=(KvCache&&) = default;

  int64_t layers() const;
  int64_t kv_heads() const;

  // Entries that this head holds.
  int64_t length(int64_t layer, int64_t kv_head) const;
  // Whether no entry of this head was ever removed: then an entry's index is its position. To be
  // asked once something was appended behind what was kept.
  bool complete(int64_t layer, int64_t kv_head) const;
  // Tokens seen so far, removed ones included: the RoPE position of the next token.
  int64_t next_position() const;

  // Post-RoPE K, and V, of one head: [length, head_dim] views, valid until the cache changes.
  at::Tensor keys(int64_t layer, int64_t kv_head) const;
  at::Tensor values(int64_t layer, int64_t kv_head) const;
  // The same of all heads of a layer: [kv_heads, length, head_dim] views, or undefined tensors
  // while the heads don't lie together in memory: after Keep until the next Append, and as long as
  // their lengths differ.
  at::Tensor layer_keys(int64_t layer) const;
  at::Tensor layer_values(int64_t layer) const;
  // The sequence positions of the head's entries: int64 [length], on the CPU. Ascending, until
  // Remove puts a later entry in the place of an earlier one.
  at::Tensor positions(int64_t layer, int64_t kv_head) const;

  // Keeps the entries at `indices` (int64 [b], on any device, ascending, unique, in [0, length)) of
  // one head and frees the memory of all others: nothing of them stays allocated, nor room for more
  // entries in this layer. INVALID_ARGUMENT, naming the head and the value, for other indices.
  absl::Status Keep(int64_t layer, int64_t kv_head, const at::Tensor& indices);

  // Removes one entry of one head and puts the head's last entry in its place: one entry is copied,
  // and nothing is freed, so that the next Append has room. A cache from whose heads one entry is
  // removed for each that is appended stays as it is in memory, for ever. INVALID_ARGUMENT, naming
  // the head and the value, for an index outside [0, length).
  absl::Status Remove(int64_t layer, int64_t kv_head, int64_t index);

  // Bytes of memory that K and V hold allocated, read from the tensors' storages: more than the
  // entries take while there is room for more of them.
  int64_t allocated_bytes() const;

  // For the decoder: makes room for `tokens` more entries in every head of a layer, so that
  // appending them in pieces allocates once. Exactly that much when the cache at least grows by an
  // eighth, as in a prefill; else an eighth, so that decoding token by token copies the cache
  // rarely.
  void Reserve(int64_t layer, int64_t tokens);
  // For the decoder: appends `tokens` entries to every head of a layer; keys and values [kv_heads,
  // tokens, head_dim]. AdvancePosition is called once a forward pass, after the last layer.
  void Append(int64_t layer, const at::Tensor& keys, const at::Tensor& values);
  void AdvancePosition(int64_t tokens);

 private:
  struct Head {
    int64_t length = 0;
    // Positions of the first entries; those after them are consecutive from tail_position.
    std::vector<int64_t> positions;
    int64_t tail_position = 0;
    bool removed = false;  // whether Remove took one away: what is left may be in any order
    // [capacity, head_dim], of a layer whose heads don't lie together.
    at::Tensor keys;
    at::Tensor values;
  };
  struct Layer {
    int64_t capacity = 0;  // entries that each head has room for, where heads lie together
    at::Tensor keys;  // [kv_heads, capacity, head_dim], or undefined: then each head has its own
    at::Tensor values;
    std::vector<Head> heads;

    bool together() const { return keys.defined(); }
    bool same_length() const;
  };

  // INVALID_ARGUMENT, naming both, unless there is such a head.
  absl::Status CheckHead(int64_t layer, int64_t kv_head) const;
  // Gives each head of a layer memory of its own, exactly for its entries.
  void Separate(Layer& layer) const;
  // Writes the positions of a head's tail out.
  static void WriteTail(Head& head);

  int64_t head_dim_;
  std::vector<Layer> layers_;
  int64_t next_position_ = 0;
};

}  // namespace kvp

#endif  // KVP_LLM_KV_CACHE_H_
