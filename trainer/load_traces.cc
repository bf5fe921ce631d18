#include "trainer/load_traces.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "util/head_split.h"
#include "util/logging.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

absl::StatusOr<Dataset> ReadOwnHeads(TraceReader& reader, const std::string& split,
                                     int64_t group_size, const Communicator& communicator) {
  ASSIGN_OR_RETURN(std::vector<TraceRecord> records, reader.ListTraces(split));
  if (records.empty()) {
    return absl::NotFoundError(absl::StrCat("no committed trace of split \"", split, "\""));
  }
  const int32_t kv_heads = records[0].model().kv_heads();
  ASSIGN_OR_RETURN(
      const std::vector<HeadRange> ranges,
      SplitHeads(int64_t{records[0].model().layers()} * kv_heads, communicator.size(), group_size));
  const HeadRange own = ranges[communicator.rank()];
  ASSIGN_OR_RETURN(Dataset dataset, Dataset::Create(std::move(records), own, group_size));
  for (int64_t head = own.begin; head < own.end; ++head) {
    ASSIGN_OR_RETURN(const TraceReader::ReadResult result,
                     reader.ReadHead(HeadId::FromIndex(head, kv_heads), split,
                                     [&](HeadBlock block) { return dataset.Add(block); }));
    if (result.corrupt_blocks > 0) {
      LogWarning(absl::StrCat("head ", head, ", split ", split, ": ", result.corrupt_blocks,
                              " corrupt blocks were skipped"));
    }
  }
  return dataset;
}

}  // namespace

absl::StatusOr<Dataset> LoadTraces(TraceReader& reader, const std::string& split,
                                   int64_t group_size, Communicator& communicator) {
  absl::StatusOr<Dataset> dataset = ReadOwnHeads(reader, split, group_size, communicator);
  RETURN_IF_ERROR(communicator.Agree(dataset.status()));
  // A collector may have committed another trace between two ranks' listings.
  std::string ids;
  for (const TraceRecord& record : dataset->records()) ids += record.trace_id();
  absl::Status same;
  if (communicator.Broadcast(ids) != ids) {
    same = absl::FailedPreconditionError(
        absl::StrCat("split \"", split, "\": traces are still being committed; begin again"));
  }
  RETURN_IF_ERROR(communicator.Agree(same));
  const std::vector<uint8_t> keep = communicator.Minimum(dataset->CompleteTraces());
  const int64_t lost = std::count(keep.begin(), keep.end(), 0);
  if (lost > 0 && communicator.rank() == 0) {
    LogWarning(absl::StrCat("split ", split, ": ", lost, " of ", keep.size(),
                            " traces lack blocks and are left out"));
  }
  dataset->KeepTraces(keep);
  if (dataset->contexts().empty()) {
    return absl::NotFoundError(absl::StrCat("split \"", split, "\": none of ", keep.size(),
                                            " traces is whole and has a cut of 2 entries or more"));
  }
  return dataset;
}

}  // namespace kvp
