#include "util/future_importance.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

std::string ShapeText(const at::Tensor& tensor) {
  return absl::StrCat("[", absl::StrJoin(tensor.sizes(), ", "), "]");
}

absl::Status Check(const at::Tensor& queries, const at::Tensor& keys, int64_t first_position,
                   absl::Span<const int64_t> cuts, const at::Tensor& importance) {
  if (queries.dim() != 3) {
    return absl::InvalidArgumentError(absl::StrCat(
        "future importance: queries ", ShapeText(queries), " aren't [group, tokens, head_dim]"));
  }
  if (keys.dim() != 2 || keys.size(1) != queries.size(2)) {
    return absl::InvalidArgumentError(absl::StrCat("future importance: keys ", ShapeText(keys),
                                                   " aren't [length, head_dim] of queries ",
                                                   ShapeText(queries)));
  }
  if (first_position < 0 || keys.size(0) < first_position + queries.size(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("future importance: ", keys.size(0), " keys for ", queries.size(1),
                     " queries from first_position ", first_position, " on: entries are missing"));
  }
  if (cuts.empty() || importance.dim() != 2 ||
      importance.size(0) != static_cast<int64_t>(cuts.size()) ||
      importance.scalar_type() != at::kFloat) {
    return absl::InvalidArgumentError(
        absl::StrCat("future importance: importance ", ShapeText(importance),
                     " isn't fp32 [cuts, entries] of ", cuts.size(), " cuts"));
  }
  for (size_t i = 0; i < cuts.size(); ++i) {
    if (cuts[i] <= (i == 0 ? 0 : cuts[i - 1]) || cuts[i] > importance.size(1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("future importance: cuts [", absl::StrJoin(cuts, ", "),
                       "] aren't ascending in [1, ", importance.size(1), "]"));
    }
  }
  return absl::OkStatus();
}

// The largest attention weight that each query's group gives each key: [tokens, first_position +
// tokens].
at::Tensor GroupMaxima(const at::Tensor& scaled_queries, const at::Tensor& keys,
                       int64_t first_position) {
  const int64_t group = scaled_queries.size(0);
  const int64_t tokens = scaled_queries.size(1);
  const int64_t visible = first_position + tokens;
  at::Tensor scores = at::matmul(scaled_queries.reshape({group * tokens, keys.size(1)}),
                                 keys.narrow(0, 0, visible).t())
                          .view({group, tokens, visible});
  // Only the block's own keys can lie after a query.
  const at::Tensor later =
      at::ones({tokens, tokens}, scores.options().dtype(at::kBool)).triu(/*diagonal=*/1);
  scores.narrow(2, first_position, tokens)
      .masked_fill_(later, -std::numeric_limits<double>::infinity());
  return at::softmax(scores, /*dim=*/2).amax(/*dim=*/0);
}

void AddBlocks(const at::Tensor& queries, const at::Tensor& keys, int64_t first_position,
               absl::Span<const int64_t> cuts, int64_t block_bytes, at::Tensor& importance) {
  const at::NoGradGuard no_grad;
  const int64_t end = first_position + queries.size(1);
  const at::Tensor float_keys = keys.narrow(0, 0, end).to(at::kFloat);
  const double scale = 1 / std::sqrt(static_cast<double>(keys.size(1)));
  // Scores and their softmax are alive together.
  const int64_t query_bytes = 2 * queries.size(0) * end * static_cast<int64_t>(sizeof(float));
  const int64_t block = std::max<int64_t>(1, block_bytes / query_bytes);
  for (int64_t first = std::max(first_position, cuts.front()); first < end; first += block) {
    const int64_t tokens = std::min(block, end - first);
    const at::Tensor scaled =
        queries.narrow(1, first - first_position, tokens).to(at::kFloat).mul(scale);
    const at::Tensor maxima = GroupMaxima(scaled, float_keys, first);
    // Queries between two neighbouring cuts count for the same rows: those of the cuts passed.
    for (size_t passed = 1; passed <= cuts.size(); ++passed) {
      const int64_t begin = std::max(first, cuts[passed - 1]);
      const int64_t stop =
          std::min(first + tokens, passed < cuts.size() ? cuts[passed] : first + tokens);
      if (begin >= stop) continue;
      const at::Tensor sum = maxima.narrow(0, begin - first, stop - begin).sum(/*dim=*/0);
      for (size_t row = 0; row < passed; ++row) {
        importance[static_cast<int64_t>(row)]
            .narrow(0, 0, cuts[row])
            .add_(sum.narrow(0, 0, cuts[row]));
      }
    }
  }
}

}  // namespace

absl::Status AddFutureImportance(const at::Tensor& queries, const at::Tensor& keys,
                                 int64_t first_position, absl::Span<const int64_t> cuts,
                                 at::Tensor& importance, int64_t block_bytes) {
  RETURN_IF_ERROR(Check(queries, keys, first_position, cuts, importance));
  try {
    AddBlocks(queries, keys, first_position, cuts, block_bytes, importance);
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat("future importance: ", error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("future importance: no memory for keys ", ShapeText(keys)));
  }
  return absl::OkStatus();
}

}  // namespace kvp
