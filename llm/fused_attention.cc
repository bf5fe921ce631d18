#include "llm/fused_attention.h"

#include <array>
#include <atomic>
#include <tuple>

#include "ATen/ATen.h"
#include "torch/csrc/api/include/torch/version.h"

#define KVP_TORCH_VERSION (TORCH_VERSION_MAJOR * 100 + TORCH_VERSION_MINOR)

namespace kvp {

// The calls below give no argument a type of LibTorch's optionals, which changed with its versions,
// and read only those results whose place is the same in all of them.
#if KVP_TORCH_VERSION >= 202

namespace {

constexpr int64_t kLargestHeadDim = 256;
constexpr int64_t kHeadDimMultiple = 8;
constexpr size_t kDevices = 128;

bool RunsOn(at::Device device) {
  try {
    const at::Tensor one =
        at::zeros({1, 1, 1, kHeadDimMultiple}, at::TensorOptions().dtype(at::kHalf).device(device));
    at::_scaled_dot_product_flash_attention(one, one, one, 0.0, true, false, 1.0);
  } catch (const c10::Error&) {
    return false;
  }
  return true;
}

// A trial, once a device: its capability can't be asked for without the CUDA toolkit's headers.
bool KnownToRunOn(at::Device device) {
  enum Answer : int8_t { kUnknown, kYes, kNo };
  static std::array<std::atomic<int8_t>, kDevices> answers{};
  std::atomic<int8_t>& answer = answers[static_cast<size_t>(device.index())];
  if (answer == kUnknown) answer = RunsOn(device) ? kYes : kNo;
  return answer == kYes;
}

}  // namespace

bool CanAttendFused(const at::Tensor& queries, int64_t window) {
  const int64_t head_dim = queries.size(2);
  return queries.is_cuda() && queries.element_size() == 2 && head_dim <= kLargestHeadDim &&
         head_dim % kHeadDimMultiple == 0 && (window == 0 || KVP_TORCH_VERSION >= 205) &&
         KnownToRunOn(queries.device());
}

FusedAttention AttendFused(const at::Tensor& queries, const at::Tensor& keys,
                           const at::Tensor& values, double scale, int64_t window) {
  const at::Tensor q = queries.unsqueeze(0);
  const at::Tensor k = keys.unsqueeze(0);
  const at::Tensor v = values.unsqueeze(0);
#if KVP_TORCH_VERSION >= 205
  if (window > 0) {
    // [1, tokens, heads, head_dim]; a window's size leaves out the query's own entry.
    const auto result = at::_flash_attention_forward(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), /*cum_seq_q=*/{},
        /*cum_seq_k=*/{}, q.size(2), k.size(2), /*dropout_p=*/0.0, /*is_causal=*/true,
        /*return_debug_mask=*/false, scale, /*window_size_left=*/window - 1,
        /*window_size_right=*/int64_t{0});
    return {std::get<0>(result)[0].transpose(0, 1), std::get<1>(result)[0]};
  }
#endif
  const auto result = at::_scaled_dot_product_flash_attention(
      q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false, scale);
  // LibTorch 2.2 rounds the number of queries up.
  return {std::get<0>(result)[0], std::get<1>(result)[0].narrow(1, 0, queries.size(1))};
}

#else

bool CanAttendFused(const at::Tensor& queries, int64_t window) { return false; }

FusedAttention AttendFused(const at::Tensor& queries, const at::Tensor& keys,
                           const at::Tensor& values, double scale, int64_t window) {
  TORCH_CHECK(false, "this LibTorch has no fused attention");
}

#endif

}  // namespace kvp
