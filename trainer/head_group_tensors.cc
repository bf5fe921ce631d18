#include "trainer/head_group_tensors.h"

#include <cstring>
#include <string>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// Of an element of K, V or a label.
constexpr int64_t kElementBytes = 2;

char* Bytes(const at::Tensor& tensor) { return static_cast<char*>(tensor.data_ptr()); }

}  // namespace

HeadGroupTensors::HeadGroupTensors(const TraceSet::Trace& trace, HeadRange heads, int32_t kv_heads,
                                   int64_t head_dim)
    : trace_(trace),
      heads_(heads),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      keys_(at::empty({heads.size(), trace.entries, head_dim}, at::kBFloat16)),
      values_(at::empty_like(keys_)),
      labels_(at::empty({heads.size(), static_cast<int64_t>(trace.cuts.size()), trace.entries},
                        at::kHalf)),
      whole_(at::ones({heads.size()}, at::kBool)),
      filled_(heads.size()) {}

int64_t HeadGroupTensors::Bytes(const TraceSet::Trace& trace, HeadRange heads, int64_t head_dim) {
  const int64_t elements_of_entry = 2 * head_dim + static_cast<int64_t>(trace.cuts.size());
  return heads.size() * trace.entries * elements_of_entry * kElementBytes;
}

absl::Status HeadGroupTensors::Add(const HeadBlock& block) {
  const auto invalid = [&](absl::string_view field, int64_t value, int64_t expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(HeadBlockKeyText(block.key), ": ", field, " is ", value, ", not ", expected));
  };
  const int64_t cuts = static_cast<int64_t>(trace_.cuts.size());
  const int64_t index = block.key.head.Index(kv_heads_);
  if (block.key.head.kv_head < 0 || block.key.head.kv_head >= kv_heads_ ||
      !heads_.contains(index)) {
    return invalid("head", index, heads_.begin);
  }
  if (block.key.trace_id != trace_.id) {
    return absl::InvalidArgumentError(
        absl::StrCat(HeadBlockKeyText(block.key), ": trace_id isn't ", TraceIdText(trace_.id)));
  }
  if (block.head_dim != head_dim_) return invalid("head_dim", block.head_dim, head_dim_);
  if (block.cuts != cuts) return invalid("cuts", block.cuts, cuts);
  const int64_t row = index - heads_.begin;
  // After a lost block the head stays incomplete.
  if (block.first_token != filled_[row]) return absl::OkStatus();
  const int64_t tokens = block.tokens;
  if (tokens < 1 || block.first_token + tokens > trace_.entries) {
    return invalid("tokens", tokens, trace_.entries - block.first_token);
  }
  const int64_t kv_bytes = tokens * head_dim_ * kElementBytes;
  for (const auto& [name, bytes, expected] :
       {std::tuple("keys", block.keys.size(), kv_bytes),
        std::tuple("values", block.values.size(), kv_bytes),
        std::tuple("labels", block.labels.size(), cuts * tokens * kElementBytes)}) {
    if (static_cast<int64_t>(bytes) != expected) {
      return invalid(absl::StrCat("bytes of ", name), static_cast<int64_t>(bytes), expected);
    }
  }
  const int64_t kv_offset = (row * trace_.entries + block.first_token) * head_dim_ * kElementBytes;
  std::memcpy(kvp::Bytes(keys_) + kv_offset, block.keys.data(), block.keys.size());
  std::memcpy(kvp::Bytes(values_) + kv_offset, block.values.data(), block.values.size());
  for (int64_t cut = 0; cut < cuts; ++cut) {
    const int64_t label = (row * cuts + cut) * trace_.entries + block.first_token;
    std::memcpy(kvp::Bytes(labels_) + label * kElementBytes,
                block.labels.data() + cut * tokens * kElementBytes, tokens * kElementBytes);
  }
  filled_[row] += tokens;
  return absl::OkStatus();
}

int64_t HeadGroupTensors::Finish() {
  int64_t incomplete = 0;
  for (int64_t row = 0; row < heads_.size(); ++row) {
    if (filled_[row] == trace_.entries) continue;
    ++incomplete;
    whole_[row].fill_(false);
    for (const at::Tensor* tensor : {&keys_, &values_, &labels_}) (*tensor)[row].zero_();
  }
  return incomplete;
}

ContextTensors HeadGroupTensors::Load(const Context& context, at::Device device) const {
  ContextTensors result;
  result.keys = keys_.narrow(1, 0, context.cut).to(device).to(at::kFloat);
  result.values = values_.narrow(1, 0, context.cut).to(device).to(at::kFloat);
  result.importance =
      labels_.select(1, context.cut_number).narrow(1, 0, context.cut).to(at::kFloat);
  result.whole = whole_;
  return result;
}

}  // namespace kvp
