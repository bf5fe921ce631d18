#include "util/future_importance.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/Context.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "util/group_maxima.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

std::string ShapeText(const at::Tensor& tensor) {
  return absl::StrCat("[", absl::StrJoin(tensor.sizes(), ", "), "]");
}

template <typename... Text>
absl::Status Invalid(const Text&... text) {
  return absl::InvalidArgumentError(absl::StrCat("future importance: ", text...));
}

// While one lives, fp32 matrix products on a GPU may round their factors to the 10 bits of mantissa
// of TF32. Numbers that were bf16 or fp16 lose nothing by that, and sums stay fp32. Torch's switch
// is the whole process's: the first one that lives turns it and the last one turns it back, on
// whatever threads they are.
class FactorsOf16Bits {
 public:
  explicit FactorsOf16Bits(const at::Tensor& factors)
      : applies_(factors.is_cuda() && factors.element_size() == 2) {
    if (!applies_) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (alive_++ > 0) return;
    before_ = at::globalContext().allowTF32CuBLAS();
    at::globalContext().setAllowTF32CuBLAS(true);
  }
  ~FactorsOf16Bits() {
    if (!applies_) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--alive_ == 0) at::globalContext().setAllowTF32CuBLAS(before_);
  }
  FactorsOf16Bits(const FactorsOf16Bits&) = delete;
  FactorsOf16Bits& operator=(const FactorsOf16Bits&) = delete;

 private:
  const bool applies_;
  static std::mutex mutex_;
  static int alive_;
  static bool before_;
};

std::mutex FactorsOf16Bits::mutex_;
int FactorsOf16Bits::alive_ = 0;
bool FactorsOf16Bits::before_ = false;

// Which of the entries [first_entry, first_entry + entries) each of the queries doesn't see: bool
// [tokens, entries].
at::Tensor Unseen(int64_t first_position, int64_t tokens, int64_t first_entry, int64_t entries,
                  int64_t window, at::Device device) {
  const at::TensorOptions longs = at::TensorOptions().dtype(at::kLong).device(device);
  const at::Tensor queries =
      at::arange(first_position, first_position + tokens, longs).unsqueeze(1);
  const at::Tensor keys = at::arange(first_entry, first_entry + entries, longs).unsqueeze(0);
  at::Tensor unseen = keys.gt(queries);
  if (window > 0) unseen.logical_or_(keys.le(queries.sub(window)));
  return unseen;
}

}  // namespace

absl::StatusOr<FutureImportance> FutureImportance::Create(int64_t kv_heads,
                                                          std::vector<int64_t> cuts) {
  bool ascending = !cuts.empty() && cuts.front() > 0;
  for (size_t i = 1; i < cuts.size(); ++i) ascending = ascending && cuts[i] > cuts[i - 1];
  if (!ascending) {
    return Invalid("cuts [", absl::StrJoin(cuts, ", "), "] aren't ascending positions above 0");
  }
  if (kv_heads < 1) return Invalid("kv_heads is ", kv_heads);
  return FutureImportance(kv_heads, std::move(cuts));
}

absl::Status FutureImportance::Check(const LayerAttention& attention) const {
  const at::Tensor& queries = attention.queries;
  const at::Tensor& keys = attention.keys;
  if (attention.first_position < 0) return Invalid("first_position is ", attention.first_position);
  if (attention.weights.defined()) {
    const at::Tensor& weights = attention.weights;
    if (weights.dim() != 3 || weights.size(0) % kv_heads_ != 0 ||
        weights.scalar_type() != at::kFloat || attention.first_entry < 0) {
      return Invalid("weights ", ShapeText(weights), " from first_entry ", attention.first_entry,
                     " on aren't fp32 [query_heads, tokens, entries] for ", kv_heads_, " KV heads");
    }
    return absl::OkStatus();
  }
  if (!queries.defined() || queries.dim() != 3 || queries.size(0) % kv_heads_ != 0) {
    return Invalid("queries ", queries.defined() ? ShapeText(queries) : "undefined",
                   " aren't [query_heads, tokens, head_dim] for ", kv_heads_, " KV heads");
  }
  if (!keys.defined() || keys.dim() != 3 || keys.size(0) != kv_heads_ ||
      keys.size(2) != queries.size(2)) {
    return Invalid("keys ", keys.defined() ? ShapeText(keys) : "undefined", " aren't [", kv_heads_,
                   ", length, head_dim] of queries ", ShapeText(queries));
  }
  if (keys.size(1) < attention.first_position + queries.size(1)) {
    return Invalid(keys.size(1), " keys for ", queries.size(1), " queries from first_position ",
                   attention.first_position, " on: entries are missing");
  }
  const at::Tensor& log_sum_exp = attention.log_sum_exp;
  if (log_sum_exp.defined() && (log_sum_exp.dim() != 2 || log_sum_exp.size(0) != queries.size(0) ||
                                log_sum_exp.size(1) != queries.size(1))) {
    return Invalid("log_sum_exp ", ShapeText(log_sum_exp),
                   " isn't [query_heads, tokens] of queries ", ShapeText(queries));
  }
  return absl::OkStatus();
}

absl::Status FutureImportance::Add(const LayerAttention& attention, int64_t block_bytes) {
  RETURN_IF_ERROR(Check(attention));
  const at::NoGradGuard no_grad;
  try {
    if (attention.weights.defined()) {
      AddWeights(attention);
    } else {
      AddBlocks(attention, block_bytes);
    }
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat("future importance: ", error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("future importance: no memory for ", attention.queries.size(1),
                     " queries from position ", attention.first_position, " on"));
  }
  return absl::OkStatus();
}

at::Tensor& FutureImportance::SegmentsOn(at::Device device) {
  if (!segments_.defined()) {
    segments_ = at::zeros({kv_heads_, static_cast<int64_t>(cuts_.size()), cuts_.back()},
                          at::TensorOptions().dtype(at::kFloat).device(device));
  }
  return segments_;
}

void FutureImportance::AddWeights(const LayerAttention& attention) {
  const at::Tensor& weights = attention.weights;
  const int64_t skipped = std::max<int64_t>(0, cuts_.front() - attention.first_position);
  const int64_t tokens = weights.size(1) - skipped;
  const int64_t entries = std::min(weights.size(2), cuts_.back() - attention.first_entry);
  if (tokens <= 0 || entries <= 0) return;
  AddToSegments(weights.narrow(1, skipped, tokens).narrow(2, 0, entries),
                attention.first_position + skipped, attention.first_entry);
}

void FutureImportance::AddToSegments(const at::Tensor& weights, int64_t first_position,
                                     int64_t first_entry) {
  at::Tensor& segments = SegmentsOn(weights.device());
  const int64_t group = weights.size(0) / kv_heads_;
  const int64_t entries = weights.size(2);
  const int64_t end = first_position + weights.size(1);
  const bool on_host = weights.is_cpu() && weights.stride(2) == 1;
  for (size_t row = 0; row < cuts_.size(); ++row) {
    const int64_t begin = std::max(first_position, cuts_[row]);
    const int64_t stop = row + 1 < cuts_.size() ? std::min(end, cuts_[row + 1]) : end;
    if (begin >= stop) continue;
    const at::Tensor queries = weights.narrow(1, begin - first_position, stop - begin);
    if (on_host) {
      float* sums = segments.data_ptr<float>() + row * segments.stride(1) + first_entry;
      for (int64_t head = 0; head < kv_heads_; ++head) {
        AddGroupMaxima(queries.data_ptr<float>() + head * group * queries.stride(0), group,
                       queries.stride(0), stop - begin, queries.stride(1), entries,
                       sums + head * segments.stride(0));
      }
      continue;
    }
    const at::Tensor by_group = queries.reshape({kv_heads_, group, stop - begin, entries});
    segments.select(1, static_cast<int64_t>(row))
        .narrow(1, first_entry, entries)
        .add_((group == 1 ? by_group.squeeze(1) : by_group.amax(/*dim=*/1)).sum(/*dim=*/1));
  }
}

void FutureImportance::AddBlocks(const LayerAttention& attention, int64_t block_bytes) {
  const at::Tensor& queries = attention.queries;
  const int64_t query_heads = queries.size(0);
  const int64_t group = query_heads / kv_heads_;
  const int64_t head_dim = queries.size(2);
  const int64_t window = attention.window;
  const int64_t start = std::max(attention.first_position, cuts_.front());
  const int64_t end = attention.first_position + queries.size(1);
  const bool normalised = attention.log_sum_exp.defined();
  const int64_t last_entry = normalised ? std::min(end, cuts_.back()) : end;
  if (start >= end) return;
  const int64_t oldest = window > 0 ? std::max<int64_t>(0, start - window + 1) : 0;
  if (oldest >= last_entry) return;

  const FactorsOf16Bits exact_factors(queries);
  const at::Tensor keys =
      attention.keys.narrow(1, oldest, last_entry - oldest).to(at::kFloat).transpose(1, 2);
  // Scores are alive twice while their softmax is taken.
  const int64_t query_bytes =
      2 * query_heads * (last_entry - oldest) * static_cast<int64_t>(sizeof(float));
  const int64_t block = std::max<int64_t>(1, block_bytes / query_bytes);
  for (int64_t first = start; first < end; first += block) {
    const int64_t tokens = std::min(block, end - first);
    const int64_t begin = window > 0 ? std::max<int64_t>(0, first - window + 1) : 0;
    const int64_t entries = std::min(last_entry, first + tokens) - begin;
    if (entries <= 0) continue;
    const int64_t offset = first - attention.first_position;
    const at::Tensor rows = queries.narrow(1, offset, tokens)
                                .to(at::kFloat)
                                .reshape({kv_heads_, group * tokens, head_dim});
    at::Tensor weights =
        at::bmm(rows, keys.narrow(2, begin - oldest, entries)).view({query_heads, tokens, entries});
    if (normalised) {
      weights.mul_(attention.scale)
          .sub_(attention.log_sum_exp.narrow(1, offset, tokens).unsqueeze(2))
          .exp_();
    } else {
      weights.mul_(attention.scale);
    }
    if (tokens > 1 || window > 0) {
      const at::Tensor unseen = Unseen(first, tokens, begin, entries, window, weights.device());
      weights.masked_fill_(unseen, normalised ? 0 : -std::numeric_limits<double>::infinity());
    }
    if (!normalised) weights = at::softmax(weights, /*dim=*/2);
    const int64_t kept = std::min(entries, cuts_.back() - begin);
    if (kept > 0) AddToSegments(weights.narrow(2, 0, kept), first, begin);
  }
}

at::Tensor FutureImportance::Labels() const {
  const int64_t cuts = static_cast<int64_t>(cuts_.size());
  if (!segments_.defined()) return at::zeros({kv_heads_, cuts, cuts_.back()}, at::kFloat);
  // What comes after a cut is its own segment and all later ones.
  at::Tensor labels = segments_.flip({1}).cumsum(1).flip({1});
  for (int64_t row = 0; row < cuts; ++row) {
    labels.select(1, row).narrow(1, cuts_[row], cuts_.back() - cuts_[row]).zero_();
  }
  return labels;
}

}  // namespace kvp
