// K, V and labels of one trace for the heads of one group, as they lie in memory.

#ifndef KVP_TRAINER_HEAD_GROUP_TENSORS_H_
#define KVP_TRAINER_HEAD_GROUP_TENSORS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "storage/head_block.h"
#include "trainer/trace_set.h"
#include "util/head_split.h"

namespace kvp {

// A context's tensors for one group of heads. Contexts are of different lengths and never padded.
struct ContextTensors {
  at::Tensor keys;        // fp32 [heads, cut, head_dim], post-RoPE
  at::Tensor values;      // fp32 [heads, cut, head_dim]
  at::Tensor importance;  // fp32 [heads, cut], on the CPU
  // bool [heads], on the CPU: heads of which blocks are lost have none of the trace. Their tensors
  // are zero, so that they have no importance and teach nothing.
  at::Tensor whole;
};

// Filled by Add, for which different heads may have different threads; immutable, and so
// thread-safe, afterwards.
class HeadGroupTensors {
 public:
  // `trace` must outlive it.
  HeadGroupTensors(const TraceSet::Trace& trace, HeadRange heads, int32_t kv_heads,
                   int64_t head_dim);

  // Bytes that such tensors take.
  static int64_t Bytes(const TraceSet::Trace& trace, HeadRange heads, int64_t head_dim);

  // Adds one block of one of the heads; a head's blocks come in ascending order. INVALID_ARGUMENT,
  // naming trace, head, field and value, where it disagrees with the trace's record.
  absl::Status Add(const HeadBlock& block);
  // To be called once after the last block: heads without all entries have none from then on.
  // Returns how many those are.
  int64_t Finish();

  ContextTensors Load(const Context& context, at::Device device) const;

 private:
  const TraceSet::Trace& trace_;
  const HeadRange heads_;
  const int32_t kv_heads_;
  const int64_t head_dim_;
  at::Tensor keys_;              // bf16 [heads, entries, head_dim]
  at::Tensor values_;            // bf16 [heads, entries, head_dim]
  at::Tensor labels_;            // fp16 [heads, cuts, entries]
  at::Tensor whole_;             // bool [heads]
  std::vector<int64_t> filled_;  // entries of each head
};

}  // namespace kvp

#endif  // KVP_TRAINER_HEAD_GROUP_TENSORS_H_
