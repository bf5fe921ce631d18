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

absl::Status CheckSequence(const std::string& name, const GenerationSequence& sequence,
                           int64_t vocab) {
  if (sequence.max_new_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, "max_new_tokens is ", sequence.max_new_tokens, ": must be 0 or above"));
  }
  const at::Tensor& logits = sequence.logits;
  if (logits.defined() && logits.dim() == 1 && logits.size(0) == vocab) return absl::OkStatus();
  const std::string shape =
      logits.defined() ? absl::StrCat("[", absl::StrJoin(logits.sizes(), ", "), "]") : "undefined";
  return absl::InvalidArgumentError(
      absl::StrCat(name, "logits are ", shape, ": must be of shape [", vocab, "]"));
}

// A sequence of a batch on its way.
struct Generation {
  size_t index = 0;  // in the batch
  int64_t left = 0;  // tokens that may still be drawn
  at::Tensor logits;
  std::mt19937_64 random;
  int32_t token = 0;  // the last one drawn
};

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

absl::StatusOr<std::vector<std::vector<int32_t>>> GenerateBatch(
    const Decoder& decoder, absl::Span<GenerationSequence> sequences,
    const SamplingOptions& options, const Decoder::ForwardOptions& forward,
    const std::function<void(size_t sequence, int32_t token)>& on_token) {
  RETURN_IF_ERROR(options.Validate());
  const ModelConfig& config = decoder.config();
  std::vector<Generation> running;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::string name = sequences.size() == 1 ? "" : absl::StrCat("sequence ", i, ": ");
    RETURN_IF_ERROR(CheckSequence(name, sequences[i], config.vocab_size));
    // Where the model's context ends, so does the continuation.
    const int64_t room = decoder.max_model_len() - sequences[i].cache->next_position();
    running.push_back({i, std::min(sequences[i].max_new_tokens, room), sequences[i].logits,
                       std::mt19937_64(sequences[i].seed), 0});
  }
  const auto ends = [&](int32_t token) {
    const std::vector<int64_t>& ids = config.eos_token_ids;
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  // Draws a sequence's next token; false where it is done.
  const auto draw = [&](Generation& generation) -> absl::StatusOr<bool> {
    if (generation.left == 0) return false;
    // A likeliest token among these would be chance.
    if (at::isnan(generation.logits).any().item<bool>()) {
      return absl::DataLossError(
          "the model's logits are not numbers: are its weights, or is its dtype too narrow?");
    }
    generation.token = SampleToken(generation.logits, options, generation.random);
    return !ends(generation.token);
  };
  std::vector<std::vector<int32_t>> tokens(sequences.size());
  while (true) {
    std::vector<Generation> drawn;
    for (Generation& generation : running) {
      ASSIGN_OR_RETURN(const bool goes_on, draw(generation));
      if (goes_on) drawn.push_back(std::move(generation));
    }
    running = std::move(drawn);
    if (running.empty()) return tokens;
    std::vector<Decoder::Sequence> batch;
    bool more = false;
    for (Generation& generation : running) {
      const GenerationSequence& sequence = sequences[generation.index];
      tokens[generation.index].push_back(generation.token);
      if (on_token) on_token(generation.index, generation.token);
      batch.push_back(
          {absl::MakeConstSpan(&generation.token, 1), sequence.cache, sequence.observer});
      more |= --generation.left > 0;
    }
    Decoder::ForwardOptions step = forward;
    step.observer = nullptr;
    step.logits = more ? Decoder::Logits::kLast : Decoder::Logits::kNone;
    ASSIGN_OR_RETURN(const std::vector<at::Tensor> logits, decoder.ForwardBatch(batch, step));
    for (const Generation& generation : running) {
      const GenerationSequence& sequence = sequences[generation.index];
      if (sequence.on_entries) RETURN_IF_ERROR(sequence.on_entries(*sequence.cache));
    }
    for (size_t i = 0; more && i < running.size(); ++i) running[i].logits = logits[i][0];
  }
}

absl::StatusOr<std::vector<int32_t>> Generate(const Decoder& decoder, KvCache& cache,
                                              at::Tensor logits, int64_t max_new_tokens,
                                              const SamplingOptions& options,
                                              const Decoder::ForwardOptions& forward,
                                              const std::function<void(int32_t)>& on_token) {
  GenerationSequence sequence{&cache, std::move(logits), max_new_tokens, options.seed,
                              forward.observer};
  std::function<void(size_t, int32_t)> on_any_token;
  if (on_token) on_any_token = [&](size_t, int32_t token) { on_token(token); };
  ASSIGN_OR_RETURN(
      std::vector<std::vector<int32_t>> tokens,
      GenerateBatch(decoder, absl::MakeSpan(&sequence, 1), options, forward, on_any_token));
  return std::move(tokens[0]);
}

}  // namespace kvp
