// The traces that a trainer rank holds in memory: K, V and labels of its own heads, and the
// contexts that they make.

#ifndef KVP_TRAINER_DATASET_H_
#define KVP_TRAINER_DATASET_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "util/head_split.h"

namespace kvp {

// A context to rank: the entries [0, cut) of one trace, with the labels of that cut.
struct Context {
  int64_t trace = 0;
  int64_t cut_number = 0;
  int64_t cut = 0;
};

// A context's tensors for one group of heads. Contexts are of different lengths and never padded.
struct ContextTensors {
  at::Tensor keys;        // fp32 [heads, cut, head_dim], post-RoPE
  at::Tensor values;      // fp32 [heads, cut, head_dim]
  at::Tensor importance;  // fp32 [heads, cut]
};

// The traces of one split, for the heads of one rank, in groups that are trained together. Owns its
// tensors: 2·2 bytes an element of K and V (bf16, as stored) and 4 a label. Filled by one thread;
// immutable, and so thread-safe, afterwards.
class Dataset {
 public:
  // For traces of `records`, in their order, and heads [heads.begin, heads.end) in groups of
  // `group_size` (the last may be smaller). INVALID_ARGUMENT, naming the trace and the field, where
  // records make no sense or disagree about the model.
  static absl::StatusOr<Dataset> Create(std::vector<TraceRecord> records, HeadRange heads,
                                        int64_t group_size);

  // Adds one block of the rank's heads; blocks of a trace and head come in ascending order.
  // INVALID_ARGUMENT, naming trace, head, field and value, where it disagrees with its record.
  // Blocks of traces without a record are passed over.
  absl::Status Add(const HeadBlock& block);

  // Which traces have all entries of all the rank's heads, by number: 1 or 0.
  std::vector<uint8_t> CompleteTraces() const;
  // Forgets the traces whose `keep` is 0: the same ones on every rank, so that all train on the
  // same contexts. Call it once, after the last Add.
  void KeepTraces(absl::Span<const uint8_t> keep);

  const std::vector<TraceRecord>& records() const { return records_; }
  // All (trace, cut) pairs with at least two entries, in the traces' order.
  const std::vector<Context>& contexts() const { return contexts_; }
  const std::vector<HeadRange>& groups() const { return groups_; }
  int64_t head_dim() const { return head_dim_; }

  // The tensors of a context for the heads of group `group`.
  ContextTensors Load(const Context& context, int64_t group) const;

 private:
  struct GroupTensors {
    at::Tensor keys;              // bf16 [heads, entries, head_dim]
    at::Tensor values;            // bf16 [heads, entries, head_dim]
    at::Tensor labels;            // fp32 [heads, cuts, entries]
    std::vector<int64_t> filled;  // entries of each head
  };

  std::vector<TraceRecord> records_;
  std::map<TraceId, int64_t> numbers_;  // of the traces, by id
  std::vector<HeadRange> groups_;
  std::vector<std::vector<GroupTensors>> tensors_;  // [trace][group]
  std::vector<Context> contexts_;
  HeadRange heads_;
  int64_t head_dim_ = 0;
  int32_t kv_heads_ = 0;
};

}  // namespace kvp

#endif  // KVP_TRAINER_DATASET_H_
