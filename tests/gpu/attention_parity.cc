#include "tests/gpu/attention_parity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "llm/attention.h"
#include "llm/attention_observer.h"
#include "llm/devices.h"
#include "llm/kv_cache.h"
#include "llm/model_config.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kQueryHeads = 8;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeadDim = 64;
constexpr double kScale = 0.15;
constexpr double kFloatTolerance = 1e-4;
constexpr double kHalfTolerance = 1e-2;

// Puts together the log-sum-exp of the pieces in which attention is computed.
class LogSumExpRecorder : public AttentionObserver {
 public:
  absl::Status OnAttention(const AttentionChunk& chunk) override {
    if (chunk.log_sum_exp.defined()) pieces_.push_back(chunk.log_sum_exp.to(at::kCPU));
    return absl::OkStatus();
  }
  bool any() const { return !pieces_.empty(); }
  at::Tensor log_sum_exp() const { return at::cat(pieces_, 1); }

 private:
  std::vector<at::Tensor> pieces_;
};

struct Inputs {
  at::Tensor queries;  // [query_heads, tokens, head_dim]
  at::Tensor keys;     // [kv_heads, past + tokens, head_dim]
  at::Tensor values;
};

struct Reference {
  at::Tensor output;       // double [tokens, query_heads * head_dim]
  at::Tensor log_sum_exp;  // double [query_heads, tokens]
};

Reference PlainAttention(const Inputs& inputs, int64_t window) {
  const int64_t tokens = inputs.queries.size(1);
  const int64_t entries = inputs.keys.size(1);
  const auto of_query_heads = [](const at::Tensor& tensor) {
    return tensor.to(at::kDouble).repeat_interleave(kQueryHeads / kKvHeads, 0);
  };
  at::Tensor scores =
      at::matmul(inputs.queries.to(at::kDouble), of_query_heads(inputs.keys).transpose(1, 2))
          .mul_(kScale);
  const at::Tensor entry = at::arange(entries).unsqueeze(0);
  const at::Tensor position = at::arange(entries - tokens, entries).unsqueeze(1);
  at::Tensor unseen = entry > position;
  if (window > 0) unseen = unseen | (entry <= position - window);
  scores.masked_fill_(unseen, -std::numeric_limits<double>::infinity());
  const at::Tensor mean = at::matmul(at::softmax(scores, -1), of_query_heads(inputs.values));
  return {mean.transpose(0, 1).reshape({tokens, kQueryHeads * kHeadDim}),
          at::logsumexp(scores, -1)};
}

double RelativeError(const at::Tensor& value, const at::Tensor& right) {
  const double error =
      (value.to(at::kCPU, at::kDouble) - right).norm().item<double>() / right.norm().item<double>();
  // Not a number must not pass for a small one.
  return std::isfinite(error) ? error : HUGE_VAL;
}

absl::Status Check(const Inputs& inputs, at::Device device, AttentionResult& result) {
  ModelConfig config;
  config.layers = 1;
  config.query_heads = kQueryHeads;
  config.kv_heads = kKvHeads;
  config.head_dim = kHeadDim;
  const at::TensorOptions options = inputs.queries.options().device(device);
  KvCache cache(config, options);
  // More room than entries: the kernels then see K and V with gaps between the heads.
  cache.Reserve(0, 2 * inputs.keys.size(1));
  cache.Append(0, inputs.keys.to(device), inputs.values.to(device));
  cache.AdvancePosition(inputs.keys.size(1));
  AttentionChunk chunk;
  chunk.queries = inputs.queries.to(device);
  chunk.first_position = result.past;
  chunk.cache = &cache;
  chunk.scale = kScale;
  chunk.window = result.window;
  const at::Tensor output = at::empty({result.tokens, kQueryHeads * kHeadDim}, options);
  LogSumExpRecorder recorder;
  RETURN_IF_ERROR(Attend(chunk, &recorder, output));
  const Reference right = PlainAttention(inputs, result.window);
  result.output_error = RelativeError(output, right.output);
  if (recorder.any()) {
    result.log_sum_exp_error = RelativeError(recorder.log_sum_exp(), right.log_sum_exp);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<AttentionResult>> CheckAttention(const std::string& device) {
  ASSIGN_OR_RETURN(const at::Device parsed, ParseDevice(device));
  const at::NoGradGuard no_gradients;
  at::manual_seed(1);
  std::vector<AttentionResult> results;
  try {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const int64_t tokens : {1, 7, 300}) {
        for (const int64_t past : {0, 1, 500}) {
          Inputs inputs;
          inputs.queries = at::randn({kQueryHeads, tokens, kHeadDim}).to(dtype);
          inputs.keys = at::randn({kKvHeads, past + tokens, kHeadDim}).to(dtype);
          inputs.values = at::randn({kKvHeads, past + tokens, kHeadDim}).to(dtype);
          for (const int64_t window : {0, 1, 130, 10000}) {
            AttentionResult result;
            result.dtype = dtype == at::kFloat ? "float32" : "bfloat16";
            result.tokens = tokens;
            result.past = past;
            result.window = window;
            result.tolerance = dtype == at::kFloat ? kFloatTolerance : kHalfTolerance;
            RETURN_IF_ERROR(Check(inputs, parsed, result));
            results.push_back(result);
          }
        }
      }
    }
  } catch (const c10::Error& error) {
    return StatusOfTorchError(error, "attention");
  }
  return results;
}

}  // namespace kvp
