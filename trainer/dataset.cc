#include "trainer/dataset.h"

#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

absl::Status CheckRecord(const TraceRecord& record, const TraceRecord& first) {
  ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
  const auto invalid = [&](absl::string_view field, absl::string_view value) {
    return absl::InvalidArgumentError(
        absl::StrCat("trace ", TraceIdText(id), ": ", field, " is ", value));
  };
  const ModelInfo& model = record.model();
  if (model.layers() < 1) return invalid("model.layers", absl::StrCat(model.layers()));
  if (model.kv_heads() < 1) return invalid("model.kv_heads", absl::StrCat(model.kv_heads()));
  if (model.head_dim() < 1) return invalid("model.head_dim", absl::StrCat(model.head_dim()));
  if (model.fingerprint() != first.model().fingerprint() ||
      model.layers() != first.model().layers() || model.kv_heads() != first.model().kv_heads() ||
      model.head_dim() != first.model().head_dim()) {
    return invalid("model", absl::StrCat(model.name(), " (", model.fingerprint(), "), others' is ",
                                         first.model().name(), " (", first.model().fingerprint(),
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

}  // namespace

absl::StatusOr<Dataset> Dataset::Create(std::vector<TraceRecord> records, HeadRange heads,
                                        int64_t group_size) {
  Dataset dataset;
  dataset.heads_ = heads;
  if (heads.begin < 0 || heads.end < heads.begin || group_size < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("heads [", heads.begin, ", ", heads.end, ") in groups of ", group_size));
  }
  for (int64_t begin = heads.begin; begin < heads.end; begin += group_size) {
    dataset.groups_.push_back({begin, std::min(begin + group_size, heads.end)});
  }
  for (const TraceRecord& record : records) {
    RETURN_IF_ERROR(CheckRecord(record, records[0]));
    ASSIGN_OR_RETURN(const TraceId id, TraceIdFromBytes(record.trace_id()));
    dataset.numbers_[id] = static_cast<int64_t>(dataset.tensors_.size());
    std::vector<GroupTensors>& of_groups = dataset.tensors_.emplace_back();
    for (const HeadRange group : dataset.groups_) {
      GroupTensors& tensors = of_groups.emplace_back();
      const int64_t entries = record.entries();
      tensors.keys = at::empty({group.size(), entries, record.model().head_dim()}, at::kBFloat16);
      tensors.values = at::empty_like(tensors.keys);
      tensors.labels = at::empty({group.size(), record.cuts_size(), entries}, at::kFloat);
      tensors.filled.assign(group.size(), 0);
    }
  }
  if (!records.empty()) {
    dataset.head_dim_ = records[0].model().head_dim();
    dataset.kv_heads_ = records[0].model().kv_heads();
    const int64_t all = int64_t{records[0].model().layers()} * dataset.kv_heads_;
    if (heads.end > all) {
      return absl::InvalidArgumentError(
          absl::StrCat("heads [", heads.begin, ", ", heads.end, ") of a model with ", all));
    }
  }
  dataset.records_ = std::move(records);
  return dataset;
}

absl::Status Dataset::Add(const HeadBlock& block) {
  const auto found = numbers_.find(block.key.trace_id);
  if (found == numbers_.end()) return absl::OkStatus();
  const TraceRecord& record = records_[found->second];
  const HeadId head = block.key.head;
  const auto invalid = [&](absl::string_view field, int64_t value, int64_t expected) {
    return absl::InvalidArgumentError(absl::StrCat(
        "trace ", TraceIdText(block.key.trace_id), ", layer ", head.layer, ", KV head ",
        head.kv_head, ", block ", block.key.block, ": ", field, " is ", value, ", not ", expected));
  };
  const int64_t index = head.Index(kv_heads_);
  if (head.kv_head < 0 || head.kv_head >= kv_heads_ || !heads_.contains(index)) {
    return invalid("head", index, heads_.begin);
  }
  if (block.head_dim != head_dim_) return invalid("head_dim", block.head_dim, head_dim_);
  if (block.cuts != record.cuts_size()) return invalid("cuts", block.cuts, record.cuts_size());
  const int64_t group_size = groups_[0].size();
  const int64_t group = (index - heads_.begin) / group_size;
  const int64_t row = index - groups_[group].begin;
  GroupTensors& tensors = tensors_[found->second][group];
  // After a lost block the head stays incomplete, and the trace is left out.
  if (block.first_token != tensors.filled[row]) return absl::OkStatus();
  if (block.tokens < 1 || block.first_token + int64_t{block.tokens} > record.entries()) {
    return invalid("tokens", block.tokens, record.entries() - block.first_token);
  }
  ASSIGN_OR_RETURN(const at::Tensor keys,
                   TensorFromBytes(block.keys, at::kBFloat16, {block.tokens, block.head_dim}));
  ASSIGN_OR_RETURN(const at::Tensor values,
                   TensorFromBytes(block.values, at::kBFloat16, {block.tokens, block.head_dim}));
  ASSIGN_OR_RETURN(const at::Tensor labels,
                   TensorFromBytes(block.labels, at::kHalf, {block.cuts, block.tokens}));
  tensors.keys[row].narrow(0, block.first_token, block.tokens).copy_(keys);
  tensors.values[row].narrow(0, block.first_token, block.tokens).copy_(values);
  tensors.labels[row].narrow(1, block.first_token, block.tokens).copy_(labels);
  tensors.filled[row] += block.tokens;
  return absl::OkStatus();
}

std::vector<uint8_t> Dataset::CompleteTraces() const {
  std::vector<uint8_t> complete;
  for (size_t trace = 0; trace < tensors_.size(); ++trace) {
    bool whole = true;
    for (const GroupTensors& group : tensors_[trace]) {
      for (const int64_t filled : group.filled) whole &= filled == records_[trace].entries();
    }
    complete.push_back(whole ? 1 : 0);
  }
  return complete;
}

void Dataset::KeepTraces(absl::Span<const uint8_t> keep) {
  std::vector<TraceRecord> records;
  std::vector<std::vector<GroupTensors>> tensors;
  numbers_.clear();
  for (size_t trace = 0; trace < records_.size(); ++trace) {
    if (keep[trace] == 0) continue;
    const int64_t number = static_cast<int64_t>(records.size());
    const TraceRecord& record = records_[trace];
    for (int cut = 0; cut < record.cuts_size(); ++cut) {
      if (record.cuts(cut) >= 2) contexts_.push_back({number, cut, record.cuts(cut)});
    }
    records.push_back(std::move(records_[trace]));
    tensors.push_back(std::move(tensors_[trace]));
  }
  records_ = std::move(records);
  tensors_ = std::move(tensors);
}

ContextTensors Dataset::Load(const Context& context, int64_t group) const {
  const GroupTensors& tensors = tensors_[context.trace][group];
  ContextTensors result;
  result.keys = tensors.keys.narrow(1, 0, context.cut).to(at::kFloat);
  result.values = tensors.values.narrow(1, 0, context.cut).to(at::kFloat);
  result.importance = tensors.labels.select(1, context.cut_number).narrow(1, 0, context.cut);
  return result;
}

}  // namespace kvp
