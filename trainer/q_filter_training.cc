#include "trainer/q_filter_training.h"

#include <algorithm>
#include <vector>

#include "ATen/ops/stack.h"
#include "absl/strings/str_cat.h"
#include "policy/heuristics/q_filter.h"
#include "storage/head_block.h"
#include "util/head_split.h"
#include "util/logging.h"
#include "util/sha256.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

absl::Status CheckRecords(const std::vector<TraceRecord>& records, const std::string& split) {
  if (records.empty()) {
    return absl::NotFoundError(absl::StrCat("no committed trace of split \"", split, "\""));
  }
  for (const TraceRecord& record : records) {
    ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
    if (record.recorded_query_heads() == 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "trace ", TraceIdText(id), ": it has no queries; collect with --record-queries"));
    }
    if (record.model().fingerprint() != records[0].model().fingerprint()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "trace ", TraceIdText(id), ": the model's fingerprint is ", record.model().fingerprint(),
          ", that of the first trace's ", records[0].model().fingerprint()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<QFilterFile> TrainQFilters(TraceReader& reader, const std::string& split,
                                          const std::function<void(int64_t, int64_t)>& on_head) {
  ASSIGN_OR_RETURN(const std::vector<TraceRecord> records, reader.ListTraces(split));
  RETURN_IF_ERROR(CheckRecords(records, split));
  const ModelInfo& model = records[0].model();
  const int64_t head_dim = model.head_dim();
  const int64_t heads = int64_t{model.layers()} * model.kv_heads();
  QFilterFile file;
  std::vector<at::Tensor> filters;
  for (int64_t head = 0; head < heads; ++head) {
    QFilterEstimator estimator(head_dim);
    const auto add = [&](const HeadBlock& block) -> absl::Status {
      if (block.head_dim != head_dim || block.query_heads == 0) {
        return absl::DataLossError(absl::StrCat(
            HeadBlockKeyText(block.key), ": head_dim ", block.head_dim, " and queries of ",
            block.query_heads, " heads disagree with the trace's record"));
      }
      ASSIGN_OR_RETURN(const at::Tensor queries,
                       TensorFromBytes(block.queries, at::kBFloat16,
                                       {int64_t{block.query_heads} * block.tokens, head_dim}));
      estimator.Add(queries);
      return absl::OkStatus();
    };
    ASSIGN_OR_RETURN(const TraceReader::ReadResult read,
                     reader.ReadHead(HeadId::FromIndex(head, model.kv_heads()), split, add));
    if (read.corrupt_blocks > 0) {
      LogWarning(absl::StrCat("head ", head, ", split ", split, ": ", read.corrupt_blocks,
                              " corrupt blocks were skipped"));
    }
    if (estimator.queries() == 0) {
      return absl::DataLossError(
          absl::StrCat("head ", head, ", split ", split, ": no block could be read"));
    }
    filters.push_back(estimator.Filter());
    file.queries = head == 0 ? estimator.queries() : std::min(file.queries, estimator.queries());
    if (on_head) on_head(head + 1, heads);
  }
  file.filters = at::stack(filters).view({model.layers(), model.kv_heads(), head_dim});
  file.model_name = model.name();
  file.model_fingerprint = model.fingerprint();
  Sha256 hash;
  for (const TraceRecord& record : records) hash.UpdateWithLength(record.trace_id());
  file.training_data_hash = hash.FinishHex();
  return file;
}

}  // namespace kvp
