#include "trainer/trace_set.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "util/sha256.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kSmallestContext = 2;

absl::Status CheckRecord(const TraceRecord& record, const ModelInfo& first) {
  ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
  const auto invalid = [&](absl::string_view field, absl::string_view value) {
    return absl::InvalidArgumentError(
        absl::StrCat("trace ", TraceIdText(id), ": ", field, " is ", value));
  };
  const ModelInfo& model = record.model();
  if (model.layers() < 1) return invalid("model.layers", absl::StrCat(model.layers()));
  if (model.kv_heads() < 1) return invalid("model.kv_heads", absl::StrCat(model.kv_heads()));
  if (model.head_dim() < 1) return invalid("model.head_dim", absl::StrCat(model.head_dim()));
  if (model.fingerprint() != first.fingerprint() || model.layers() != first.layers() ||
      model.kv_heads() != first.kv_heads() || model.head_dim() != first.head_dim()) {
    return invalid("model", absl::StrCat(model.name(), " (", model.fingerprint(), "), others' is ",
                                         first.name(), " (", first.fingerprint(),
                                         "): agents are trained for one model"));
  }
  if (record.entries() < 0) return invalid("entries", absl::StrCat(record.entries()));
  for (const int32_t cut : record.cuts()) {
    if (cut < 0 || cut > record.entries()) {
      return invalid("cuts", absl::StrCat(cut, ", with entries ", record.entries()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TraceSet> ListAlone(TraceReader& reader, const std::string& split) {
  ASSIGN_OR_RETURN(const std::vector<TraceRecord> records, reader.ListTraces(split));
  if (records.empty()) {
    return absl::NotFoundError(absl::StrCat("no committed trace of split \"", split, "\""));
  }
  ASSIGN_OR_RETURN(TraceSet set, TraceSet::Create(records));
  if (set.contexts().empty()) {
    return absl::NotFoundError(absl::StrCat("split \"", split, "\": none of ", records.size(),
                                            " traces has a cut of ", kSmallestContext,
                                            " entries or more"));
  }
  return set;
}

}  // namespace

absl::StatusOr<TraceSet> TraceSet::Create(const std::vector<TraceRecord>& records) {
  TraceSet set;
  if (!records.empty()) set.model_ = records[0].model();
  for (const TraceRecord& record : records) {
    RETURN_IF_ERROR(CheckRecord(record, set.model_));
    Trace trace;
    ASSIGN_OR_RETURN(trace.id, TraceIdFromBytes(record.trace_id()));
    trace.entries = record.entries();
    trace.cuts.assign(record.cuts().begin(), record.cuts().end());
    if (std::any_of(trace.cuts.begin(), trace.cuts.end(),
                    [](int64_t cut) { return cut >= kSmallestContext; })) {
      set.traces_.push_back(std::move(trace));
    }
  }
  std::sort(set.traces_.begin(), set.traces_.end(),
            [](const Trace& a, const Trace& b) { return a.id < b.id; });
  Sha256 hash;
  set.contexts_begin_.push_back(0);
  for (int64_t number = 0; number < set.size(); ++number) {
    const Trace& trace = set.traces_[number];
    hash.UpdateWithLength(
        absl::string_view(reinterpret_cast<const char*>(trace.id.data()), trace.id.size()));
    for (size_t cut = 0; cut < trace.cuts.size(); ++cut) {
      if (trace.cuts[cut] < kSmallestContext) continue;
      set.contexts_.push_back({number, static_cast<int64_t>(cut), trace.cuts[cut]});
    }
    set.contexts_begin_.push_back(static_cast<int64_t>(set.contexts_.size()));
  }
  set.hash_ = hash.FinishHex();
  return set;
}

absl::StatusOr<TraceSet> TraceSet::List(TraceReader& reader, const std::string& split,
                                        Communicator& communicator) {
  absl::StatusOr<TraceSet> set = ListAlone(reader, split);
  RETURN_IF_ERROR(communicator.Agree(set.status()));
  // A collector may have committed another trace between two ranks' listings.
  absl::Status same;
  if (communicator.Broadcast(set->hash()) != set->hash()) {
    same = absl::FailedPreconditionError(
        absl::StrCat("split \"", split, "\": traces are still being committed; begin again"));
  }
  RETURN_IF_ERROR(communicator.Agree(same));
  return set;
}

}  // namespace kvp
