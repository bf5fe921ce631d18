#include "collector/capture.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <utility>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "collector/importance.h"
#include "llm/kv_cache.h"
#include "util/sha256.h"
#include "util/status_macros.h"
#include "util/tensor_bytes.h"

namespace kvp {
namespace {

constexpr int64_t kTargetBlockBytes = int64_t{512} << 10;
constexpr double kLargestHalf = 65504;
// Part of every id: raised when the meaning of what is recorded changes.
constexpr uint64_t kCaptureVersion = 1;

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

int64_t BlockTokens(const CaptureOptions& options, int64_t head_dim) {
  if (options.block_tokens > 0) return options.block_tokens;
  const int64_t token_bytes = 4 * head_dim + 2 * options.cuts;
  int64_t tokens = kMaxBlockTokens;
  while (tokens > 1 && tokens * token_bytes > kTargetBlockBytes) tokens /= 2;
  return tokens;
}

absl::Status At(const TokenizedPrompt& prompt, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(prompt.origin, ": ", status.message()));
}

// Generates the continuation, or runs the forced one, behind the prompt. Returns its tokens.
absl::StatusOr<std::vector<int32_t>> Run(const Decoder& decoder, const TokenizedPrompt& prompt,
                                         const CaptureOptions& options,
                                         ImportanceAccumulator* importance, KvCache& cache) {
  Decoder::ForwardOptions forward;
  forward.chunk_tokens = options.chunk_tokens;
  forward.observer = importance;
  const bool forced = !prompt.continuation.empty();
  forward.logits = forced ? Decoder::Logits::kNone : Decoder::Logits::kLast;
  ASSIGN_OR_RETURN(const at::Tensor logits, decoder.Forward(prompt.prompt, cache, forward));
  if (forced) {
    RETURN_IF_ERROR(decoder.Forward(prompt.continuation, cache, forward).status());
    return prompt.continuation;
  }
  const int64_t room = decoder.config().max_positions - static_cast<int64_t>(prompt.prompt.size());
  return Generate(decoder, cache, logits[0], std::min(options.max_new_tokens, room),
                  options.sampling, forward);
}

// Slices one head's K, V and labels into blocks.
void AppendBlocks(HeadId head, const at::Tensor& keys, const at::Tensor& values,
                  const at::Tensor& labels, int64_t block_tokens, const TraceId& id,
                  std::vector<HeadBlock>& blocks) {
  const int64_t entries = labels.size(1);
  const auto recorded = [entries](const at::Tensor& tensor) {
    return tensor.narrow(0, 0, entries).to(at::kCPU, at::kBFloat16).contiguous();
  };
  const at::Tensor bf16_keys = recorded(keys);
  const at::Tensor bf16_values = recorded(values);
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
    block.keys = BytesOfTensor(bf16_keys.narrow(0, first, tokens));
    block.values = BytesOfTensor(bf16_values.narrow(0, first, tokens));
    block.labels = BytesOfTensor(labels.narrow(1, first, tokens));
    blocks.push_back(std::move(block));
  }
}

absl::StatusOr<CapturedTrace> CaptureChecked(const Decoder& decoder, const ModelInfo& model,
                                             const TokenizedPrompt& prompt,
                                             const CaptureOptions& options) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = decoder.config();
  const TraceId id = IdOfTrace(decoder.fingerprint(), prompt, options);
  const int64_t prompt_tokens = static_cast<int64_t>(prompt.prompt.size());
  const std::vector<int64_t> cuts = CutsOfTrace(id, prompt_tokens, options.cuts);
  ASSIGN_OR_RETURN(const std::unique_ptr<ImportanceAccumulator> importance,
                   ImportanceAccumulator::Create(config, cuts));
  KvCache cache = decoder.NewCache();
  ASSIGN_OR_RETURN(const std::vector<int32_t> continuation,
                   Run(decoder, prompt, options, importance.get(), cache));
  ASSIGN_OR_RETURN(const at::Tensor sums, importance->Finish(cache));
  const at::Tensor labels = sums.clamp_max(kLargestHalf).to(at::kCPU, at::kHalf).contiguous();

  CapturedTrace trace;
  trace.has_future = !continuation.empty();
  TraceRecord& record = trace.record;
  record.set_trace_id(std::string(id.begin(), id.end()));
  *record.mutable_model() = model;
  record.set_prompt_tokens(static_cast<int32_t>(prompt_tokens));
  record.set_continuation_tokens(static_cast<int32_t>(continuation.size()));
  record.mutable_cuts()->Add(cuts.begin(), cuts.end());
  record.set_entries(static_cast<int32_t>(cuts.back()));
  record.mutable_token_ids()->Add(prompt.prompt.begin(), prompt.prompt.end());
  record.mutable_token_ids()->Add(continuation.begin(), continuation.end());

  const int64_t block_tokens = BlockTokens(options, config.head_dim);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (int64_t head = 0; head < config.kv_heads; ++head) {
      AppendBlocks({static_cast<int32_t>(layer), static_cast<int32_t>(head)},
                   cache.keys(layer, head), cache.values(layer, head), labels[layer][head],
                   block_tokens, id, trace.blocks);
    }
  }
  return trace;
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

TraceId IdOfTrace(const std::string& fingerprint, const TokenizedPrompt& prompt,
                  const CaptureOptions& options) {
  IdHash hash;
  hash.Number(kCaptureVersion);
  hash.Text(fingerprint);
  hash.Tokens(prompt.prompt);
  hash.Tokens(prompt.continuation);
  if (prompt.continuation.empty()) {
    hash.Number(static_cast<uint64_t>(options.max_new_tokens));
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
  return hash.Finish();
}

std::vector<int64_t> CutsOfTrace(const TraceId& id, int64_t prompt_tokens, int64_t cuts) {
  uint64_t seed = 0;
  for (int i = 0; i < 8; ++i) seed |= uint64_t{id[i]} << (8 * i);
  std::mt19937_64 random(seed);
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

absl::Status CheckPrompt(const ModelConfig& config, const TokenizedPrompt& prompt) {
  const int64_t tokens = static_cast<int64_t>(prompt.prompt.size());
  const int64_t continuation = static_cast<int64_t>(prompt.continuation.size());
  if (tokens == 0) {
    return absl::InvalidArgumentError(absl::StrCat(prompt.origin, ": the prompt has no tokens"));
  }
  // A continuation needs one token at least.
  if (tokens + std::max<int64_t>(1, continuation) > config.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat(
        prompt.origin, ": ", tokens, " prompt and ", continuation,
        " answer tokens don't fit the model's max_position_embeddings=", config.max_positions));
  }
  for (const std::vector<int32_t>* ids : {&prompt.prompt, &prompt.continuation}) {
    for (const int32_t id : *ids) {
      if (id < 0 || id >= config.vocab_size) {
        return absl::InvalidArgumentError(absl::StrCat(
            prompt.origin, ": token ", id, " is outside the model's vocab_size=", config.vocab_size,
            ": do tokenizer.json and config.json belong together?"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<CapturedTrace> Capture(const Decoder& decoder, const ModelInfo& model,
                                      const TokenizedPrompt& prompt,
                                      const CaptureOptions& options) {
  RETURN_IF_ERROR(CheckPrompt(decoder.config(), prompt));
  try {
    absl::StatusOr<CapturedTrace> trace = CaptureChecked(decoder, model, prompt, options);
    return trace.ok() ? std::move(trace) : At(prompt, trace.status());
  } catch (const c10::Error& error) {
    return At(prompt, absl::InternalError(error.what_without_backtrace()));
  }
}

}  // namespace kvp
