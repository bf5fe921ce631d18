#include "llm/attention.h"

#include <cmath>
#include <limits>

#include "ATen/ATen.h"

namespace kvp {
namespace {

// For n KV heads: scores of `queries` [n, group * tokens, head_dim] against `keys` [n, length,
// head_dim], fp32, with the later ones of the last `tokens` entries masked; then their mean of
// `values`: [n, group * tokens, head_dim].
at::Tensor AttendHeads(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                       int64_t tokens, const at::Tensor& mask) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(queries.size(2)));
  const at::Tensor transposed = keys.transpose(1, 2);
  // Scaling the smaller operand is cheaper, but would round twice where the dtype isn't fp32.
  at::Tensor scores = queries.scalar_type() == at::kFloat
                          ? at::bmm(queries * scale, transposed)
                          : at::bmm(queries, transposed).to(at::kFloat).mul_(scale);
  if (tokens > 1) {
    const int64_t length = keys.size(1);
    scores.view({-1, tokens, length}).narrow(2, length - tokens, tokens).add_(mask);
  }
  const at::Tensor weights = at::softmax(scores, -1);
  return at::bmm(weights.to(values.scalar_type()), values);
}

}  // namespace

at::Tensor Attend(const at::Tensor& queries, const KvCache& cache, int64_t layer) {
  const int64_t query_heads = queries.size(0);
  const int64_t tokens = queries.size(1);
  const int64_t head_dim = queries.size(2);
  const int64_t kv_heads = cache.kv_heads();
  const at::Tensor grouped = queries.view({kv_heads, query_heads / kv_heads * tokens, head_dim});
  at::Tensor mask;
  if (tokens > 1) {
    mask = at::full({tokens, tokens}, -std::numeric_limits<float>::infinity(),
                    queries.options().dtype(at::kFloat))
               .triu_(1);
  }

  at::Tensor output;
  if (const at::Tensor keys = cache.layer_keys(layer); keys.defined()) {
    output = AttendHeads(grouped, keys, cache.layer_values(layer), tokens, mask);
  } else {
    output = at::empty_like(grouped);
    for (int64_t head = 0; head < kv_heads; ++head) {
      output.narrow(0, head, 1)
          .copy_(AttendHeads(grouped.narrow(0, head, 1), cache.keys(layer, head).unsqueeze(0),
                             cache.values(layer, head).unsqueeze(0), tokens, mask));
    }
  }
  return output.view({query_heads, tokens, head_dim})
      .transpose(0, 1)
      .reshape({tokens, query_heads * head_dim});
}

}  // namespace kvp
