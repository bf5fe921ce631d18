#include "tests/gpu/parity.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "ATen/ATen.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "collector/capture.h"
#include "llm/decoder.h"
#include "llm/importance_observer.h"
#include "llm/kv_cache.h"
#include "llm/sampling.h"
#include "llm/tiny_model.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

// Different lengths, among them one that ends with a chunk and one within its first chunk.
constexpr int64_t kPromptTokens[] = {37, 150, 96, 8};
constexpr int64_t kChunkTokens = 32;
constexpr int64_t kOneChunk = 1024;
constexpr int64_t kNewTokens = 24;

std::vector<int32_t> Prompt(int64_t tokens, int64_t vocab_size) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < tokens; ++i) {
    prompt.push_back(static_cast<int32_t>((i * 31 + i * i + tokens) % vocab_size));
  }
  return prompt;
}

// What came out of one sequence, on the CPU in fp32.
struct Outcome {
  at::Tensor logits;  // [tokens, vocab]
  at::Tensor keys;    // [layers, kv_heads, tokens, head_dim]
  at::Tensor values;
  at::Tensor labels;  // [layers, kv_heads, cuts, entries]
  std::vector<int32_t> continuation;
};

at::Tensor OnCpu(const at::Tensor& tensor) { return tensor.to(at::kCPU, at::kFloat); }

at::Tensor Stacked(const ModelConfig& config, const KvCache& cache,
                   at::Tensor (KvCache::*part)(int64_t, int64_t) const) {
  std::vector<at::Tensor> layers;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    std::vector<at::Tensor> heads;
    for (int64_t head = 0; head < config.kv_heads; ++head) {
      heads.push_back(OnCpu((cache.*part)(layer, head)));
    }
    layers.push_back(at::stack(heads));
  }
  return at::stack(layers);
}

// Runs the prompts in one batch: their logits, K, V and labels, and then greedy continuations.
absl::StatusOr<std::vector<Outcome>> RunBatch(const Decoder& decoder,
                                              absl::Span<const std::vector<int32_t>> prompts,
                                              int64_t chunk_tokens) {
  const ModelConfig& config = decoder.config();
  std::vector<KvCache> caches;
  std::vector<std::unique_ptr<ImportanceObserver>> importance;
  for (const std::vector<int32_t>& prompt : prompts) {
    caches.push_back(decoder.NewCache());
    const int64_t tokens = static_cast<int64_t>(prompt.size());
    ASSIGN_OR_RETURN(auto observer,
                     ImportanceObserver::Create(config, {tokens / 3 + 1, tokens - 2}));
    importance.push_back(std::move(observer));
  }
  std::vector<Decoder::Sequence> sequences;
  for (size_t i = 0; i < prompts.size(); ++i) {
    sequences.push_back({prompts[i], &caches[i], importance[i].get()});
  }
  Decoder::ForwardOptions forward;
  forward.logits = Decoder::Logits::kAll;
  forward.chunk_tokens = chunk_tokens;
  ASSIGN_OR_RETURN(const std::vector<at::Tensor> logits, decoder.ForwardBatch(sequences, forward));

  std::vector<Outcome> outcomes(prompts.size());
  std::vector<GenerationSequence> generation(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    outcomes[i].logits = OnCpu(logits[i]);
    outcomes[i].keys = Stacked(config, caches[i], &KvCache::keys);
    outcomes[i].values = Stacked(config, caches[i], &KvCache::values);
    ASSIGN_OR_RETURN(std::vector<at::Tensor> labels, importance[i]->Finish(caches[i]));
    for (at::Tensor& layer : labels) layer = OnCpu(layer);
    outcomes[i].labels = at::stack(labels);
    generation[i].cache = &caches[i];
    generation[i].logits = logits[i][-1];
    generation[i].max_new_tokens = kNewTokens;
  }
  SamplingOptions greedy;
  greedy.temperature = 0;
  ASSIGN_OR_RETURN(std::vector<std::vector<int32_t>> continuations,
                   GenerateBatch(decoder, absl::MakeSpan(generation), greedy));
  for (size_t i = 0; i < prompts.size(); ++i) {
    outcomes[i].continuation = std::move(continuations[i]);
  }
  return outcomes;
}

double RelativeError(const at::Tensor& value, const at::Tensor& right) {
  if (value.sizes() != right.sizes()) return HUGE_VAL;
  if (right.numel() == 0) return 0;
  const double norm = right.norm().item<double>();
  const double error = (value - right).norm().item<double>() / norm;
  // Not a number must not pass for a small one.
  return std::isfinite(error) ? error : HUGE_VAL;
}

ParityErrors Compare(const std::vector<Outcome>& outcomes, const std::vector<Outcome>& right) {
  ParityErrors errors;
  for (size_t i = 0; i < right.size(); ++i) {
    const auto worse = [&](double& error, at::Tensor Outcome::*part) {
      error = std::max(error, RelativeError(outcomes[i].*part, right[i].*part));
    };
    worse(errors.logits, &Outcome::logits);
    worse(errors.keys, &Outcome::keys);
    worse(errors.values, &Outcome::values);
    worse(errors.labels, &Outcome::labels);
    if (outcomes[i].continuation != right[i].continuation) errors.same_continuations = false;
  }
  return errors;
}

// Each prompt by itself and in one piece, on the CPU.
absl::StatusOr<std::vector<Outcome>> RunAlone(const std::string& model, const std::string& dtype,
                                              absl::Span<const std::vector<int32_t>> prompts) {
  Decoder::Options options;
  options.dtype = dtype;
  ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder, Decoder::Load(model, options));
  std::vector<Outcome> outcomes;
  for (const std::vector<int32_t>& prompt : prompts) {
    ASSIGN_OR_RETURN(std::vector<Outcome> outcome,
                     RunBatch(*decoder, absl::MakeConstSpan(&prompt, 1), kOneChunk));
    outcomes.push_back(std::move(outcome[0]));
  }
  return outcomes;
}

// The first two thirds of each prompt, with the rest as forced continuation; with `generated`, also
// each by itself, continued by the model.
std::vector<TokenizedPrompt> PromptsToCapture(absl::Span<const std::vector<int32_t>> prompts,
                                              bool generated) {
  std::vector<TokenizedPrompt> result;
  for (const std::vector<int32_t>& tokens : prompts) {
    const auto end = tokens.begin() + static_cast<int64_t>(tokens.size()) * 2 / 3;
    TokenizedPrompt prompt;
    prompt.prompt.assign(tokens.begin(), end);
    prompt.continuation.assign(end, tokens.end());
    result.push_back(prompt);
    if (!generated) continue;
    prompt.continuation.clear();
    result.push_back(std::move(prompt));
  }
  return result;
}

// All K, V and labels of a trace as it goes to the store, each in a row.
absl::StatusOr<std::vector<at::Tensor>> StoredNumbers(const CapturedTrace& trace) {
  std::vector<at::Tensor> keys = {at::empty({0})};
  std::vector<at::Tensor> values = keys;
  std::vector<at::Tensor> labels = keys;
  for (const HeadBlock& block : trace.blocks) {
    const int64_t numbers = int64_t{block.tokens} * block.head_dim;
    const auto add = [](std::vector<at::Tensor>& to, const std::string& bytes, at::ScalarType dtype,
                        int64_t size) -> absl::Status {
      ASSIGN_OR_RETURN(const at::Tensor tensor, TensorFromBytes(bytes, dtype, {size}));
      to.push_back(OnCpu(tensor));
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(add(keys, block.keys, at::kBFloat16, numbers));
    RETURN_IF_ERROR(add(values, block.values, at::kBFloat16, numbers));
    RETURN_IF_ERROR(add(labels, block.labels, at::kHalf, int64_t{block.cuts} * block.tokens));
  }
  return std::vector<at::Tensor>{at::cat(keys), at::cat(values), at::cat(labels)};
}

// The worst distance between traces captured in one batch by `decoder` and alone by `reference`.
absl::StatusOr<double> CaptureError(const Decoder& decoder, const Decoder& reference,
                                    absl::Span<const TokenizedPrompt> prompts) {
  CaptureOptions options;
  options.max_new_tokens = kNewTokens;
  options.sampling.temperature = 0;
  options.cuts = 3;
  options.block_tokens = 16;
  // Of both, so that the traces' ids and with them the cuts are the same.
  const ModelInfo model = ModelInfoOf(reference, "tiny");
  options.chunk_tokens = kChunkTokens;
  ASSIGN_OR_RETURN(const CapturedBatch batch, CaptureBatch(decoder, model, prompts, options));
  options.chunk_tokens = kOneChunk;
  double worst = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    ASSIGN_OR_RETURN(const CapturedTrace alone, Capture(reference, model, prompts[i], options));
    ASSIGN_OR_RETURN(const std::vector<at::Tensor> numbers, StoredNumbers(batch.traces[i]));
    ASSIGN_OR_RETURN(const std::vector<at::Tensor> right, StoredNumbers(alone));
    for (size_t part = 0; part < right.size(); ++part) {
      worst = std::max(worst, RelativeError(numbers[part], right[part]));
    }
  }
  return worst;
}

}  // namespace

bool ParityResult::ok() const {
  const auto allowed = [this](double error, double cpu_error) {
    return error <= std::max(tolerance, kRoundingFactor * cpu_error);
  };
  // Both sides of it are rounded.
  const double captured_rounding =
      (1 + kRoundingFactor) * std::max({cpu.keys, cpu.values, cpu.labels});
  return allowed(device.logits, cpu.logits) && allowed(device.keys, cpu.keys) &&
         allowed(device.values, cpu.values) && allowed(device.labels, cpu.labels) &&
         device.captured <= std::max(kHalfTolerance, captured_rounding) &&
         (device.same_continuations || dtype != "float32");
}

absl::StatusOr<std::vector<ParityResult>> CheckParity(const std::string& directory,
                                                      const std::vector<std::string>& devices) {
  std::vector<ParityResult> results;
  for (TinyFamily& family : TinyFamilies()) {
    const std::string model = absl::StrCat(directory, "/tiny_", family.name);
    // The file's numbers are then the same in every dtype.
    family.options.dtype = at::kBFloat16;
    RETURN_IF_ERROR(WriteTinyModel(model, family.options));
    std::vector<std::vector<int32_t>> prompts;
    for (const int64_t tokens : kPromptTokens) {
      prompts.push_back(Prompt(tokens, family.options.vocab_size));
    }
    ASSIGN_OR_RETURN(const std::vector<Outcome> right, RunAlone(model, "float32", prompts));
    for (const char* dtype : {"float32", "bfloat16"}) {
      Decoder::Options options;
      options.devices = devices;
      options.dtype = dtype;
      ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder, Decoder::Load(model, options));
      ASSIGN_OR_RETURN(const std::vector<Outcome> outcomes,
                       RunBatch(*decoder, prompts, kChunkTokens));
      ParityResult result;
      result.family = family.name;
      result.dtype = dtype;
      result.device = Compare(outcomes, right);
      Decoder::Options on_cpu;
      on_cpu.dtype = dtype;
      ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> reference, Decoder::Load(model, on_cpu));
      // In bf16 a device may continue differently.
      ASSIGN_OR_RETURN(result.device.captured,
                       CaptureError(*decoder, *reference,
                                    PromptsToCapture(prompts, options.dtype == "float32")));
      if (options.dtype == "float32") {
        result.tolerance = kFloatTolerance;
      } else {
        result.tolerance = kHalfTolerance;
        ASSIGN_OR_RETURN(const std::vector<Outcome> rounded, RunAlone(model, dtype, prompts));
        result.cpu = Compare(rounded, right);
      }
      results.push_back(std::move(result));
    }
  }
  return results;
}

}  // namespace kvp
