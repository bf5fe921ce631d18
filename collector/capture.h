// Capture: one prompt run through a model, as the trace that the store keeps.

#ifndef KVP_COLLECTOR_CAPTURE_H_
#define KVP_COLLECTOR_CAPTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "collector/tokenized_prompt.h"
#include "llm/decoder.h"
#include "llm/sampling.h"
#include "proto/trace.pb.h"
#include "storage/head_block.h"

namespace kvp {

// What is recorded of a prompt, and how its continuation is made.
struct CaptureOptions {
  // Of a generated continuation: its most tokens (fewer where the model's context or an
  // end-of-sequence token comes first), and how they are drawn.
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  // Cuts of a trace: the prompt's end and cuts - 1 random positions in the prompt's last three
  // quarters (as many as there are, in a short prompt).
  int64_t cuts = 1;
  uint64_t cut_seed = 0;
  // Tokens of a head block; 0: the largest power of two that keeps a block within 512 KiB.
  int64_t block_tokens = 0;
  // How K and V are stored, and whether the prompt's queries are, too.
  KvDtype kv_dtype = KvDtype::kBf16;
  bool record_queries = false;
  // Tokens of a chunk of prefill; changes no result but for rounding.
  int64_t chunk_tokens = 512;

  // INVALID_ARGUMENT naming the field and its value.
  absl::Status Validate() const;
};

// A trace on its way into the store. `record.blocks`, `record.split` and `record.task` aren't set.
// Where the model ended the sequence right after the prompt it is empty: a record without entries,
// cuts and blocks, which keeps the prompt from being run again.
struct CapturedTrace {
  TraceRecord record;
  std::vector<HeadBlock> blocks;  // by layer, KV head, block

  bool empty() const { return record.entries() == 0; }
};

// Prompts that were run together, in their order.
struct CapturedBatch {
  std::vector<CapturedTrace> traces;
  absl::Duration prefill;       // of all prompts and forced continuations, in one pass
  absl::Duration continuation;  // of all generated continuations
};

// Tokens of a stored block of such a model.
int64_t BlockTokens(const CaptureOptions& options, const ModelConfig& config);

// The geometry and identity of a loaded model; the name is the directory's last component.
ModelInfo ModelInfoOf(const Decoder& decoder, const std::string& directory);

// What of a decoder decides a trace's content.
struct DecoderIdentity {
  std::string fingerprint;
  std::string dtype;
  std::vector<double> rope_frequencies;
  int64_t max_model_len = 0;
  std::vector<int64_t> eos_token_ids;  // ascending
};
DecoderIdentity IdentityOf(const Decoder& decoder);

// The trace's id, known before any compute: the first half of a SHA-256 over the model's
// fingerprint, dtype and rotary frequencies, the prompt's tokens, those of a forced continuation or
// else what ends and draws a generated one, the cuts' rule, the option of the block size and what
// is stored how. Where the prompt comes from, chunk size, device and what runs beside it don't
// matter.
TraceId IdOfTrace(const DecoderIdentity& decoder, const TokenizedPrompt& prompt,
                  const CaptureOptions& options);

// The cuts of a trace, ascending; the last is prompt_tokens. A function of its arguments alone.
std::vector<int64_t> CutsOfTrace(const TraceId& id, int64_t prompt_tokens, int64_t cuts);

// OK where the model can run `prompt`. INVALID_ARGUMENT, naming the origin and the value, for an
// empty or over-long prompt, or a token outside the vocabulary.
absl::Status CheckPrompt(const Decoder& decoder, const TokenizedPrompt& prompt);

// Runs prompts and their continuations together and records post-RoPE K, V and labels of the
// prompts' tokens: each trace is what it would be alone, but for rounding. Their caches are in
// memory at the same time, and so is what TraceRecorder keeps of each. INVALID_ARGUMENT as
// CheckPrompt; the decoder's errors; INTERNAL where torch fails. Thread-safe.
absl::StatusOr<CapturedBatch> CaptureBatch(const Decoder& decoder, const ModelInfo& model,
                                           absl::Span<const TokenizedPrompt> prompts,
                                           const CaptureOptions& options);

// The same for one prompt.
absl::StatusOr<CapturedTrace> Capture(const Decoder& decoder, const ModelInfo& model,
                                      const TokenizedPrompt& prompt, const CaptureOptions& options);

}  // namespace kvp

#endif  // KVP_COLLECTOR_CAPTURE_H_
