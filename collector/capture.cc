#include "collector/capture.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "collector/trace_recorder.h"
#include "llm/devices.h"
#include "llm/kv_cache.h"
#include "storage/block_quantization.h"
#include "util/sha256.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

constexpr int64_t kTargetBlockBytes = int64_t{512} << 10;
// Part of every id: raised when the meaning of what is recorded changes.
constexpr uint64_t kCaptureVersion = 3;

// Appends numbers to a hash in one fixed way: 64 bits, little-endian.
class IdHash {
 public:
  void Number(uint64_t value) {
    char bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
    hash_.Update(absl::string_view(bytes, sizeof(bytes)));
  }
  void Real(double value) {
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    Number(bits);
  }
  // Lengths stand before what they are lengths of, so that no two lists of pieces look alike.
  void Text(absl::string_view text) {
    Number(text.size());
    hash_.Update(text);
  }
  void Tokens(const std::vector<int32_t>& tokens) {
    Number(tokens.size());
    for (const int32_t token : tokens) Number(static_cast<uint64_t>(token));
  }

  TraceId Finish() {
    const std::array<uint8_t, 32> digest = hash_.Finish();
    TraceId id;
    std::copy_n(digest.begin(), id.size(), id.begin());
    return id;
  }

 private:
  Sha256 hash_;
};

// Most tokens of a generated continuation: the model's context may end before the wish does.
int64_t NewTokens(const CaptureOptions& options, int64_t max_model_len,
                  const TokenizedPrompt& prompt) {
  return std::min(options.max_new_tokens,
                  max_model_len - static_cast<int64_t>(prompt.prompt.size()));
}

uint64_t NumberOf(const TraceId& id) {
  uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number |= uint64_t{id[i]} << (8 * i);
  return number;
}

// One prompt of a batch.
struct Run {
  explicit Run(KvCache cache) : cache(std::move(cache)) {}

  const TokenizedPrompt* prompt = nullptr;
  TraceId id{};
  std::vector<int64_t> cuts;
  std::unique_ptr<TraceRecorder> recorder;
  KvCache cache;
  // What is known before the model runs: the prompt and a forced continuation.
  std::vector<int32_t> tokens;
  at::Tensor logits;  // of the last of them: [1, vocab_size], or undefined
  std::vector<int32_t> generated;

  bool forced() const { return !prompt->continuation.empty(); }
};

absl::StatusOr<std::vector<Run>> RunsOf(const Decoder& decoder,
                                        absl::Span<const TokenizedPrompt> prompts,
                                        const CaptureOptions& options) {
  std::vector<Run> runs;
  runs.reserve(prompts.size());
  for (const TokenizedPrompt& prompt : prompts) {
    Run& run = runs.emplace_back(decoder.NewCache());
    run.prompt = &prompt;
    run.id = IdOfTrace(IdentityOf(decoder), prompt, options);
    run.cuts = CutsOfTrace(run.id, static_cast<int64_t>(prompt.prompt.size()), options.cuts);
    run.tokens = prompt.prompt;
    run.tokens.insert(run.tokens.end(), prompt.continuation.begin(), prompt.continuation.end());
    ASSIGN_OR_RETURN(run.recorder, TraceRecorder::Create(
                                       decoder.config(), run.cuts, options.record_queries,
                                       run.forced() ? static_cast<int64_t>(run.tokens.size()) : 0));
  }
  return runs;
}

// Also forced continuations, in the same pass.
absl::Status Prefill(const Decoder& decoder, const Decoder::ForwardOptions& forward,
                     std::vector<Run>& runs) {
  std::vector<Decoder::Sequence> sequences;
  Decoder::ForwardOptions options = forward;
  options.logits = Decoder::Logits::kNone;
  for (Run& run : runs) {
    sequences.push_back({run.tokens, &run.cache, run.recorder.get()});
    if (!run.forced()) options.logits = Decoder::Logits::kLast;
  }
  ASSIGN_OR_RETURN(const std::vector<at::Tensor> logits, decoder.ForwardBatch(sequences, options));
  for (size_t i = 0; i < runs.size(); ++i) runs[i].logits = logits[i];
  return absl::OkStatus();
}

absl::Status GenerateContinuations(const Decoder& decoder, const Decoder::ForwardOptions& forward,
                                   const CaptureOptions& options, std::vector<Run>& runs) {
  std::vector<GenerationSequence> sequences;
  std::vector<Run*> generated;
  for (Run& run : runs) {
    if (run.forced()) continue;
    GenerationSequence& sequence = sequences.emplace_back();
    sequence.cache = &run.cache;
    sequence.logits = run.logits[0];
    sequence.max_new_tokens = NewTokens(options, decoder.max_model_len(), *run.prompt);
    // Each prompt draws numbers of its own.
    sequence.seed = options.sampling.seed ^ NumberOf(run.id);
    sequence.observer = run.recorder.get();
    generated.push_back(&run);
  }
  if (sequences.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<std::vector<int32_t>> tokens,
                   GenerateBatch(decoder, absl::MakeSpan(sequences), options.sampling, forward));
  for (size_t i = 0; i < tokens.size(); ++i) generated[i]->generated = std::move(tokens[i]);
  return absl::OkStatus();
}

// Slices one head's part of a layer into blocks.
absl::Status AppendBlocks(HeadId head, const LayerRecord& layer, int64_t block_tokens,
                          KvDtype kv_dtype, const TraceId& id, std::vector<HeadBlock>& blocks) {
  const at::Tensor keys = layer.keys[head.kv_head];
  const at::Tensor values = layer.values[head.kv_head];
  const at::Tensor labels = layer.labels[head.kv_head];
  const int64_t entries = keys.size(0);
  for (int64_t first = 0; first < entries; first += block_tokens) {
    const int64_t tokens = std::min(block_tokens, entries - first);
    HeadBlock block;
    block.key.head = head;
    block.key.trace_id = id;
    block.key.block = static_cast<int32_t>(first / block_tokens);
    block.first_token = static_cast<int32_t>(first);
    block.tokens = static_cast<int32_t>(tokens);
    block.head_dim = static_cast<int32_t>(keys.size(1));
    block.cuts = static_cast<int32_t>(labels.size(0));
    block.keys = BytesOfTensor(keys.narrow(0, first, tokens));
    block.values = BytesOfTensor(values.narrow(0, first, tokens));
    block.labels = BytesOfTensor(labels.narrow(1, first, tokens));
    if (layer.queries.defined()) {
      const at::Tensor queries = layer.queries[head.kv_head].narrow(1, first, tokens);
      block.query_heads = static_cast<int32_t>(queries.size(0));
      block.queries = BytesOfTensor(queries);
    }
    if (kv_dtype == KvDtype::kFloat8) {
      ASSIGN_OR_RETURN(block, QuantizeToFloat8(std::move(block)));
    }
    blocks.push_back(std::move(block));
  }
  return absl::OkStatus();
}

// An agent that learned from anything else would be worthless.
absl::Status CheckNumbers(const std::vector<LayerRecord>& layers) {
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (const at::Tensor& tensor :
         {layers[layer].keys, layers[layer].values, layers[layer].labels}) {
      if (at::isfinite(tensor).all().item<bool>()) continue;
      return absl::DataLossError(
          absl::StrCat("layer ", layer,
                       ": keys, values or attention are not finite numbers: are the "
                       "model's weights, or is its dtype too narrow?"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<CapturedTrace> TraceOf(const Decoder& decoder, const ModelInfo& model,
                                      const CaptureOptions& options, Run& run) {
  const ModelConfig& config = decoder.config();
  CapturedTrace trace;
  TraceRecord& record = trace.record;
  record.set_trace_id(std::string(run.id.begin(), run.id.end()));
  *record.mutable_model() = model;
  record.set_prompt_tokens(static_cast<int32_t>(run.prompt->prompt.size()));
  record.mutable_token_ids()->Add(run.tokens.begin(), run.tokens.end());
  record.mutable_token_ids()->Add(run.generated.begin(), run.generated.end());
  record.set_continuation_tokens(record.token_ids_size() - record.prompt_tokens());
  if (record.continuation_tokens() == 0) return trace;

  ASSIGN_OR_RETURN(const std::vector<LayerRecord> layers, run.recorder->Finish(run.cache));
  RETURN_IF_ERROR(CheckNumbers(layers));
  record.mutable_cuts()->Add(run.cuts.begin(), run.cuts.end());
  record.set_entries(static_cast<int32_t>(run.cuts.back()));
  if (options.kv_dtype == KvDtype::kFloat8) record.set_kv_dtype(TraceRecord::FLOAT8);
  if (options.record_queries) {
    record.set_recorded_query_heads(static_cast<int32_t>(config.query_group()));
  }
  const int64_t block_tokens = BlockTokens(options, config);
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    for (int32_t head = 0; head < config.kv_heads; ++head) {
      RETURN_IF_ERROR(AppendBlocks({layer, head}, layers[layer], block_tokens, options.kv_dtype,
                                   run.id, trace.blocks));
    }
  }
  return trace;
}

absl::StatusOr<CapturedBatch> CaptureChecked(const Decoder& decoder, const ModelInfo& model,
                                             absl::Span<const TokenizedPrompt> prompts,
                                             const CaptureOptions& options) {
  const at::NoGradGuard no_grad;
  ASSIGN_OR_RETURN(std::vector<Run> runs, RunsOf(decoder, prompts, options));
  Decoder::ForwardOptions forward;
  forward.chunk_tokens = options.chunk_tokens;
  CapturedBatch batch;
  const absl::Time begin = absl::Now();
  RETURN_IF_ERROR(Prefill(decoder, forward, runs));
  const absl::Time prefilled = absl::Now();
  RETURN_IF_ERROR(GenerateContinuations(decoder, forward, options, runs));
  batch.prefill = prefilled - begin;
  batch.continuation = absl::Now() - prefilled;
  for (Run& run : runs) {
    ASSIGN_OR_RETURN(CapturedTrace trace, TraceOf(decoder, model, options, run));
    batch.traces.push_back(std::move(trace));
    run.cache = decoder.NewCache();  // frees its memory
  }
  return batch;
}

// "prompts.jsonl:3", or "prompts.jsonl:3 … prompts.jsonl:10" of a batch.
std::string OriginOf(absl::Span<const TokenizedPrompt> prompts) {
  if (prompts.size() == 1) return prompts[0].origin;
  return absl::StrCat(prompts.front().origin, " … ", prompts.back().origin);
}

}  // namespace

absl::Status CaptureOptions::Validate() const {
  RETURN_IF_ERROR(sampling.Validate());
  const auto check = [](absl::string_view name, int64_t value, int64_t minimum, int64_t maximum) {
    if (value >= minimum && value <= maximum) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(name, "=", value, ": it must be in [", minimum, ", ", maximum, "]"));
  };
  constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
  RETURN_IF_ERROR(check("max_new_tokens", max_new_tokens, 1, kMaxTokens));
  RETURN_IF_ERROR(check("cuts", cuts, 1, kMaxCuts));
  RETURN_IF_ERROR(check("block_tokens", block_tokens, 0, kMaxBlockTokens));
  return check("chunk_tokens", chunk_tokens, 1, kMaxTokens);
}

int64_t BlockTokens(const CaptureOptions& options, const ModelConfig& config) {
  if (options.block_tokens > 0) return options.block_tokens;
  const int64_t query_heads = options.record_queries ? config.query_group() : 0;
  int64_t tokens = kMaxBlockTokens;
  while (tokens > 1 && EncodedBlockBytes(tokens, config.head_dim, options.cuts, options.kv_dtype,
                                         query_heads) > kTargetBlockBytes) {
    tokens /= 2;
  }
  return tokens;
}

ModelInfo ModelInfoOf(const Decoder& decoder, const std::string& directory) {
  const std::string trimmed = directory.substr(0, directory.find_last_not_of('/') + 1);
  const ModelConfig& config = decoder.config();
  ModelInfo model;
  model.set_name(trimmed.substr(trimmed.rfind('/') + 1));
  model.set_fingerprint(decoder.fingerprint());
  model.set_layers(static_cast<int32_t>(config.layers));
  model.set_query_heads(static_cast<int32_t>(config.query_heads));
  model.set_kv_heads(static_cast<int32_t>(config.kv_heads));
  model.set_head_dim(static_cast<int32_t>(config.head_dim));
  for (const double frequency : decoder.rope_frequencies()) model.add_rope_frequencies(frequency);
  return model;
}

DecoderIdentity IdentityOf(const Decoder& decoder) {
  DecoderIdentity identity;
  identity.fingerprint = decoder.fingerprint();
  identity.dtype = decoder.dtype();
  identity.rope_frequencies = decoder.rope_frequencies();
  identity.max_model_len = decoder.max_model_len();
  identity.eos_token_ids = decoder.config().eos_token_ids;
  std::sort(identity.eos_token_ids.begin(), identity.eos_token_ids.end());
  return identity;
}

TraceId IdOfTrace(const DecoderIdentity& decoder, const TokenizedPrompt& prompt,
                  const CaptureOptions& options) {
  IdHash hash;
  hash.Number(kCaptureVersion);
  hash.Text(decoder.fingerprint);
  hash.Text(decoder.dtype);
  hash.Number(decoder.rope_frequencies.size());
  for (const double frequency : decoder.rope_frequencies) hash.Real(frequency);
  hash.Tokens(prompt.prompt);
  hash.Tokens(prompt.continuation);
  if (prompt.continuation.empty()) {
    hash.Number(static_cast<uint64_t>(NewTokens(options, decoder.max_model_len, prompt)));
    hash.Number(decoder.eos_token_ids.size());
    for (const int64_t id : decoder.eos_token_ids) hash.Number(static_cast<uint64_t>(id));
    hash.Real(options.sampling.temperature);
    // Greedy choice depends on nothing else.
    if (options.sampling.temperature > 0) {
      hash.Number(static_cast<uint64_t>(options.sampling.top_k));
      hash.Real(options.sampling.top_p);
      hash.Number(options.sampling.seed);
    }
  }
  hash.Number(static_cast<uint64_t>(options.cuts));
  if (options.cuts > 1) hash.Number(options.cut_seed);
  hash.Number(static_cast<uint64_t>(options.block_tokens));
  hash.Number(static_cast<uint64_t>(options.kv_dtype));
  hash.Number(options.record_queries ? 1 : 0);
  return hash.Finish();
}

std::vector<int64_t> CutsOfTrace(const TraceId& id, int64_t prompt_tokens, int64_t cuts) {
  std::mt19937_64 random(NumberOf(id));
  const int64_t lowest = std::max<int64_t>(1, prompt_tokens / 4);
  const int64_t choices = prompt_tokens - lowest;
  std::set<int64_t> chosen = {prompt_tokens};
  const size_t wanted = static_cast<size_t>(std::min(cuts, choices + 1));
  // Floyd's sampling without replacement: one draw for each cut.
  for (int64_t top = choices - static_cast<int64_t>(wanted) + 1; top < choices; ++top) {
    const int64_t drawn = lowest + static_cast<int64_t>(random() % static_cast<uint64_t>(top + 1));
    if (!chosen.insert(drawn).second) chosen.insert(lowest + top);
  }
  return {chosen.begin(), chosen.end()};
}

absl::Status CheckPrompt(const Decoder& decoder, const TokenizedPrompt& prompt) {
  const int64_t vocab_size = decoder.config().vocab_size;
  if (prompt.prompt.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(prompt.origin, ": the prompt has no tokens"));
  }
  RETURN_IF_ERROR(CheckLength(prompt, decoder.max_model_len()));
  for (const std::vector<int32_t>* ids : {&prompt.prompt, &prompt.continuation}) {
    for (const int32_t id : *ids) {
      if (id < 0 || id >= vocab_size) {
        return absl::InvalidArgumentError(absl::StrCat(
            prompt.origin, ": token ", id, " is outside the model's vocab_size=", vocab_size,
            ": do tokenizer.json and config.json belong together?"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<CapturedBatch> CaptureBatch(const Decoder& decoder, const ModelInfo& model,
                                           absl::Span<const TokenizedPrompt> prompts,
                                           const CaptureOptions& options) {
  if (prompts.empty()) return CapturedBatch();
  for (const TokenizedPrompt& prompt : prompts) RETURN_IF_ERROR(CheckPrompt(decoder, prompt));
  const auto named = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(OriginOf(prompts), ": ", status.message()));
  };
  try {
    absl::StatusOr<CapturedBatch> batch = CaptureChecked(decoder, model, prompts, options);
    return batch.ok() ? std::move(batch) : named(batch.status());
  } catch (const c10::Error& error) {
    return named(StatusOfTorchError(error, "capture"));
  } catch (const std::bad_alloc&) {
    return named(absl::ResourceExhaustedError("capture: out of memory"));
  }
}

absl::StatusOr<CapturedTrace> Capture(const Decoder& decoder, const ModelInfo& model,
                                      const TokenizedPrompt& prompt,
                                      const CaptureOptions& options) {
  ASSIGN_OR_RETURN(CapturedBatch batch,
                   CaptureBatch(decoder, model, absl::MakeConstSpan(&prompt, 1), options));
  return std::move(batch.traces[0]);
}

}  // namespace kvp
