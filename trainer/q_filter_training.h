// Training of policy q_filter's filters: one pass over the recorded queries of a store's traces.

#ifndef KVP_TRAINER_Q_FILTER_TRAINING_H_
#define KVP_TRAINER_Q_FILTER_TRAINING_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "policy/q_filter_file.h"
#include "storage/trace_reader.h"

namespace kvp {

// The filter of each head (policy/heuristics/q_filter.h) from the queries of all traces of `split`,
// one head at a time. `on_head` (may be null) is called with the heads done and their number.
//
// NOT_FOUND where the split has no traces; FAILED_PRECONDITION, naming it, for a trace that was
// collected without queries or from another model than the first; DATA_LOSS where a block doesn't
// hold what its trace's record says, or a head has no queries left; the reader's errors.
absl::StatusOr<QFilterFile> TrainQFilters(
    TraceReader& reader, const std::string& split,
    const std::function<void(int64_t done, int64_t heads)>& on_head = {});

}  // namespace kvp

#endif  // KVP_TRAINER_Q_FILTER_TRAINING_H_
