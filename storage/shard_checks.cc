#include "storage/shard_checks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "util/head_split.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int32_t kMaxLayers = 4096;
constexpr int32_t kMaxHeads = 4096;
constexpr size_t kMaxNameBytes = 256;

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", not between ", least, " and ", most));
}

// Names end up in logs, on terminals and in other programs' file names: nothing in them may lead
// elsewhere.
absl::Status CheckPlain(absl::string_view field, absl::string_view value) {
  const bool plain =
      value != "." && value != ".." && std::none_of(value.begin(), value.end(), [](char c) {
        return c == '/' || c == '\\' || absl::ascii_iscntrl(c);
      });
  if (plain) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is \"", absl::Utf8SafeCEscape(value),
                   "\": a name has no slashes or control characters"));
}

absl::Status CheckName(absl::string_view field, absl::string_view value) {
  if (value.empty() || value.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " has ", value.size(), " bytes, not between 1 and ", kMaxNameBytes));
  }
  return CheckPlain(field, value);
}

template <typename Value>
absl::Status CheckSame(absl::string_view field, const Value& value, const Value& held) {
  if (value == held) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(field, " is ", value, ", but the shard holds traces with ", held));
}

}  // namespace

absl::Status CheckModel(const ModelInfo& model) {
  RETURN_IF_ERROR(CheckName("model.fingerprint", model.fingerprint()));
  if (!model.name().empty()) RETURN_IF_ERROR(CheckName("model.name", model.name()));
  RETURN_IF_ERROR(CheckRange("model.layers", model.layers(), 1, kMaxLayers));
  RETURN_IF_ERROR(CheckRange("model.kv_heads", model.kv_heads(), 1, kMaxHeads));
  RETURN_IF_ERROR(CheckRange("model.head_dim", model.head_dim(), 1, kMaxHeadDim));
  RETURN_IF_ERROR(CheckRange("model.query_heads", model.query_heads(), 1, kMaxHeads * 16));
  if (model.query_heads() % model.kv_heads() != 0) {
    return absl::InvalidArgumentError(absl::StrCat("model.query_heads is ", model.query_heads(),
                                                   ", no multiple of model.kv_heads ",
                                                   model.kv_heads()));
  }
  RETURN_IF_ERROR(CheckRange("model.rope_frequencies' size", model.rope_frequencies_size(), 0,
                             model.head_dim() / 2));
  for (const double frequency : model.rope_frequencies()) {
    if (std::isfinite(frequency)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("model.rope_frequencies: ", frequency, " is no frequency"));
  }
  return absl::OkStatus();
}

namespace {

// Queries are recorded of a KV head's whole group, or not at all.
absl::Status CheckQueryHeads(absl::string_view field, int64_t value, const ModelInfo& model) {
  const int64_t group = model.query_heads() / model.kv_heads();
  if (value == 0 || value == group) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", neither 0 nor the ", group, " of a KV head's group"));
}

}  // namespace

absl::Status CheckSameModel(const ModelInfo& model, const ModelInfo& held) {
  RETURN_IF_ERROR(CheckSame("model.layers", model.layers(), held.layers()));
  RETURN_IF_ERROR(CheckSame("model.query_heads", model.query_heads(), held.query_heads()));
  RETURN_IF_ERROR(CheckSame("model.kv_heads", model.kv_heads(), held.kv_heads()));
  RETURN_IF_ERROR(CheckSame("model.head_dim", model.head_dim(), held.head_dim()));
  RETURN_IF_ERROR(CheckSame("model.fingerprint", model.fingerprint(), held.fingerprint()));
  // One checkpoint has several of them where its longest sequence decides.
  return CheckSame("model.rope_frequencies", absl::StrJoin(model.rope_frequencies(), " "),
                   absl::StrJoin(held.rope_frequencies(), " "));
}

absl::Status CheckBlockFits(const HeadBlockView& block, const ShardIdentity& identity) {
  const ModelInfo& model = identity.model();
  RETURN_IF_ERROR(CheckRange("layer", block.key.head.layer, 0, model.layers() - 1));
  RETURN_IF_ERROR(CheckRange("kv_head", block.key.head.kv_head, 0, model.kv_heads() - 1));
  RETURN_IF_ERROR(CheckRange("head_dim", block.head_dim, model.head_dim(), model.head_dim()));
  RETURN_IF_ERROR(CheckQueryHeads("query_heads", block.query_heads, model));
  const int64_t index = block.key.head.Index(model.kv_heads());
  if (index < identity.head_begin() || index >= identity.head_end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "layer ", block.key.head.layer, " kv_head ", block.key.head.kv_head, " is head ", index,
        ", outside of this shard's [", identity.head_begin(), ", ", identity.head_end(), ")"));
  }
  return absl::OkStatus();
}

absl::Status CheckRecordFits(const TraceRecord& record, const ShardIdentity& identity) {
  if (absl::StatusOr<TraceId> id = TraceIdFromBytes(record.trace_id()); !id.ok()) {
    return id.status();
  }
  RETURN_IF_ERROR(CheckModel(record.model()));
  if (absl::Status same = CheckSameModel(record.model(), identity.model()); !same.ok()) {
    return absl::InvalidArgumentError(same.message());
  }
  RETURN_IF_ERROR(CheckName("task", record.task()));
  RETURN_IF_ERROR(CheckName("split", record.split()));
  RETURN_IF_ERROR(CheckRange("prompt_tokens", record.prompt_tokens(), 0, INT32_MAX));
  RETURN_IF_ERROR(CheckRange("continuation_tokens", record.continuation_tokens(), 0, INT32_MAX));
  const int64_t tokens = int64_t{record.prompt_tokens()} + record.continuation_tokens();
  RETURN_IF_ERROR(CheckRange("token_ids' size", record.token_ids_size(), tokens, tokens));
  const bool may_be_empty = record.continuation_tokens() == 0 && record.cuts().empty();
  RETURN_IF_ERROR(CheckRange("entries", record.entries(), may_be_empty ? 0 : 1, tokens));
  RETURN_IF_ERROR(CheckRange("cuts' size", record.cuts_size(), 0, kMaxCuts));
  RETURN_IF_ERROR(
      CheckRange("kv_dtype", record.kv_dtype(), TraceRecord::BF16, TraceRecord::FLOAT8));
  RETURN_IF_ERROR(
      CheckQueryHeads("recorded_query_heads", record.recorded_query_heads(), record.model()));
  // It must pass through the message cap again when it is listed.
  RETURN_IF_ERROR(CheckRange("the record's size", record.ByteSizeLong(), 0, kMaxEncodedBlockBytes));
  int64_t least = 1;
  for (const int32_t cut : record.cuts()) {
    RETURN_IF_ERROR(CheckRange("cuts: a cut", cut, least, record.entries()));
    least = int64_t{cut} + 1;
  }
  return CheckRange("blocks", record.blocks(), 0, INT32_MAX);
}

}  // namespace kvp
