// Reads a rank's heads from the shards into a Dataset, agreeing with the other ranks on the traces.

#ifndef KVP_TRAINER_LOAD_TRACES_H_
#define KVP_TRAINER_LOAD_TRACES_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "storage/trace_reader.h"
#include "trainer/communicator.h"
#include "trainer/dataset.h"

namespace kvp {

// Collective. The committed traces of `split`, without those of which a block is lost for any rank
// (logged by rank 0). Heads are split over the ranks in whole groups of `group_size`. NOT_FOUND
// where no trace is left; the reader's errors.
absl::StatusOr<Dataset> LoadTraces(TraceReader& reader, const std::string& split,
                                   int64_t group_size, Communicator& communicator);

}  // namespace kvp

#endif  // KVP_TRAINER_LOAD_TRACES_H_
