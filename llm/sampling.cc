#include "llm/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

// A logit that is no number never wins.
float Comparable(float logit) {
  return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
}

// [0, 1), the same on every platform (std::uniform_real_distribution isn't).
double Uniform(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * (1.0 / 9007199254740992.0);
}

}  // namespace

absl::Status SamplingOptions::Validate() const {
  if (!(temperature >= 0) || std::isinf(temperature)) {
    return absl::InvalidArgumentError(
        absl::StrCat("temperature is ", temperature, ": must be 0 or above"));
  }
  if (top_k < 0) {
    return absl::InvalidArgumentError(absl::StrCat("top_k is ", top_k, ": must be 0 or above"));
  }
  if (!(top_p > 0 && top_p <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("top_p is ", top_p, ": must be in (0, 1]"));
  }
  return absl::OkStatus();
}

int32_t SampleToken(const at::Tensor& logits, const SamplingOptions& options,
                    std::mt19937_64& random) {
  const at::Tensor host = logits.to(at::kCPU, at::kFloat).contiguous();
  const float* logit = host.data_ptr<float>();
  const int64_t vocab = host.numel();
  const auto likelier = [&](int32_t a, int32_t b) {
    const float x = Comparable(logit[a]);
    const float y = Comparable(logit[b]);
    return x != y ? x > y : a < b;
  };
  std::vector<int32_t> ids(vocab);
  std::iota(ids.begin(), ids.end(), 0);
  const int32_t best = *std::min_element(ids.begin(), ids.end(), likelier);
  if (options.temperature == 0) return best;

  // Only a truncated distribution needs an order.
  if (options.top_k > 0 && options.top_k < vocab) {
    std::partial_sort(ids.begin(), ids.begin() + options.top_k, ids.end(), likelier);
    ids.resize(options.top_k);
  } else if (options.top_p < 1) {
    std::sort(ids.begin(), ids.end(), likelier);
  }
  const double largest = Comparable(logit[best]);
  std::vector<double> weights(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    weights[i] = std::exp((Comparable(logit[ids[i]]) - largest) / options.temperature);
  }
  double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!(sum > 0) || std::isinf(sum)) return best;  // all logits are infinite
  if (options.top_p < 1) {
    size_t kept = 0;
    double kept_sum = 0;
    while (kept < weights.size() && kept_sum < options.top_p * sum) kept_sum += weights[kept++];
    weights.resize(kept);
    sum = kept_sum;
  }
  double left = Uniform(random) * sum;
  for (size_t i = 0; i + 1 < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0) return ids[i];
  }
  return ids[weights.size() - 1];
}

absl::StatusOr<std::vector<int32_t>> Generate(const Decoder& decoder, KvCache& cache,
                                              at::Tensor logits, int64_t max_new_tokens,
                                              const SamplingOptions& options,
                                              const Decoder::ForwardOptions& forward,
                                              const std::function<void(int32_t)>& on_token) {
  RETURN_IF_ERROR(options.Validate());
  if (max_new_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens is ", max_new_tokens, ": must be 0 or above"));
  }
  const int64_t vocab = decoder.config().vocab_size;
  if (!logits.defined() || logits.dim() != 1 || logits.size(0) != vocab) {
    const std::string shape = logits.defined()
                                  ? absl::StrCat("[", absl::StrJoin(logits.sizes(), ", "), "]")
                                  : "undefined";
    return absl::InvalidArgumentError(
        absl::StrCat("logits are ", shape, ": must be of shape [", vocab, "]"));
  }
  const std::vector<int64_t>& ends = decoder.config().eos_token_ids;
  std::mt19937_64 random(options.seed);
  std::vector<int32_t> tokens;
  while (static_cast<int64_t>(tokens.size()) < max_new_tokens) {
    const int32_t token = SampleToken(logits, options, random);
    if (std::find(ends.begin(), ends.end(), token) != ends.end()) break;
    tokens.push_back(token);
    if (on_token) on_token(token);
    Decoder::ForwardOptions step = forward;
    const bool last = static_cast<int64_t>(tokens.size()) == max_new_tokens;
    step.logits = last ? Decoder::Logits::kNone : Decoder::Logits::kLast;
    ASSIGN_OR_RETURN(logits, decoder.Forward({token}, cache, step));
    if (!last) logits = logits[0];
  }
  return tokens;
}

}  // namespace kvp
