// The traces of one split, as training sees them: which there are, and the contexts that they make.

#ifndef KVP_TRAINER_TRACE_SET_H_
#define KVP_TRAINER_TRACE_SET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"
#include "storage/trace_reader.h"
#include "trainer/communicator.h"

namespace kvp {

// A context to rank: the entries [0, cut) of one trace, with the labels of that cut.
struct Context {
  int64_t trace = 0;       // number of the trace in its set
  int64_t cut_number = 0;  // among the trace's cuts
  int64_t cut = 0;         // entries
};

// Traces of one model, by ascending id. Immutable, thread-safe.
class TraceSet {
 public:
  struct Trace {
    TraceId id{};
    int64_t entries = 0;
    // Ascending, each in [0, entries].
    std::vector<int64_t> cuts;
  };

  // INVALID_ARGUMENT, naming the trace and the field, where records make no sense or disagree about
  // the model. Traces without a cut of at least two entries are left out: there is nothing to rank.
  static absl::StatusOr<TraceSet> Create(const std::vector<TraceRecord>& records);

  // Collective: the committed traces of `split`, the same ones on every rank. NOT_FOUND where there
  // is none to train on; FAILED_PRECONDITION where traces were committed between two ranks'
  // listings; the reader's errors.
  static absl::StatusOr<TraceSet> List(TraceReader& reader, const std::string& split,
                                       Communicator& communicator);

  const ModelInfo& model() const { return model_; }
  // All (layer, KV head) pairs.
  int64_t heads() const { return int64_t{model_.layers()} * model_.kv_heads(); }
  int64_t size() const { return static_cast<int64_t>(traces_.size()); }
  const Trace& trace(int64_t number) const { return traces_[number]; }
  // Every cut of at least two entries, in the traces' order.
  const std::vector<Context>& contexts() const { return contexts_; }
  // The contexts of one trace: contexts()[begin], …, contexts()[end - 1].
  int64_t contexts_begin(int64_t trace) const { return contexts_begin_[trace]; }
  int64_t contexts_end(int64_t trace) const { return contexts_begin_[trace + 1]; }
  // Hex SHA-256 over the ids in order.
  const std::string& hash() const { return hash_; }

 private:
  ModelInfo model_;
  std::vector<Trace> traces_;
  std::vector<Context> contexts_;
  std::vector<int64_t> contexts_begin_;
  std::string hash_;
};

}  // namespace kvp

#endif  // KVP_TRAINER_TRACE_SET_H_
