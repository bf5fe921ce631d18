#include "util/naive_importance.h"

#include <cmath>
#include <vector>

#include "ATen/ATen.h"

namespace kvp {

at::Tensor NaiveAttention(const at::Tensor& queries, const at::Tensor& keys, double scale,
                          int64_t window) {
  const int64_t tokens = keys.size(0);
  const at::Tensor scores =
      (at::matmul(queries.to(at::kDouble), keys.to(at::kDouble).t()) * scale).contiguous();
  at::Tensor attention = at::zeros({tokens, tokens}, at::kDouble);
  const auto score = scores.accessor<double, 2>();
  auto weight = attention.accessor<double, 2>();
  for (int64_t j = 0; j < tokens; ++j) {
    const int64_t first = window > 0 && j >= window ? j - window + 1 : 0;
    double largest = score[j][first];
    for (int64_t i = first; i <= j; ++i) largest = std::max(largest, score[j][i]);
    double sum = 0;
    for (int64_t i = first; i <= j; ++i) sum += weight[j][i] = std::exp(score[j][i] - largest);
    for (int64_t i = first; i <= j; ++i) weight[j][i] /= sum;
  }
  return attention;
}

at::Tensor NaiveImportance(const at::Tensor& queries, const at::Tensor& keys, double scale,
                           int64_t window, const std::vector<int64_t>& cuts) {
  const int64_t tokens = keys.size(0);
  at::Tensor maxima = at::zeros({tokens, tokens}, at::kDouble);
  for (int64_t h = 0; h < queries.size(0); ++h) {
    maxima = at::maximum(maxima, NaiveAttention(queries[h], keys, scale, window));
  }
  const auto largest = maxima.accessor<double, 2>();
  at::Tensor labels = at::zeros({static_cast<int64_t>(cuts.size()), cuts.back()}, at::kDouble);
  auto label = labels.accessor<double, 2>();
  for (size_t c = 0; c < cuts.size(); ++c) {
    for (int64_t j = cuts[c]; j < tokens; ++j) {
      for (int64_t i = 0; i < cuts[c]; ++i) label[c][i] += largest[j][i];
    }
  }
  return labels;
}

double LargestRelativeError(const at::Tensor& labels, const at::Tensor& reference,
                            double absolute) {
  const at::Tensor difference = (labels.to(at::kDouble) - reference).abs();
  return ((difference - absolute).clamp_min(0) / reference.clamp_min(absolute))
      .max()
      .item<double>();
}

}  // namespace kvp
