#include "collector/naive_importance.h"

#include <cmath>
#include <limits>

#include "ATen/ATen.h"

namespace kvp {

at::Tensor NaiveImportance(const at::Tensor& queries, const at::Tensor& keys,
                           const std::vector<int64_t>& cuts) {
  const int64_t tokens = keys.size(0);
  const double scale = 1 / std::sqrt(static_cast<double>(keys.size(1)));
  const at::Tensor scores = at::matmul(queries.to(at::kDouble), keys.to(at::kDouble).t()) * scale;
  const at::Tensor later = at::ones({tokens, tokens}, at::kBool).triu(1);
  const at::Tensor attention =
      at::softmax(scores.masked_fill(later, -std::numeric_limits<double>::infinity()), -1);
  const at::Tensor maxima = attention.amax(0);
  at::Tensor labels = at::zeros({static_cast<int64_t>(cuts.size()), cuts.back()}, at::kDouble);
  for (size_t i = 0; i < cuts.size(); ++i) {
    labels[static_cast<int64_t>(i)]
        .narrow(0, 0, cuts[i])
        .copy_(maxima.narrow(0, cuts[i], tokens - cuts[i]).narrow(1, 0, cuts[i]).sum(0));
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
