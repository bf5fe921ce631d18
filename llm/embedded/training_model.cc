#include "llm/embedded/training_model.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

namespace kvp {
namespace {

// Batches are padded to a multiple of this many tokens: few distinct matrix
// shapes, for which oneDNN's kernels are generated once.
constexpr int64_t kBatchMultiple = 96;

struct LayerActivations {
  at::Tensor attention_input;   // Residual stream [N, D].
  at::Tensor attention_rms;     // [N]
  at::Tensor attention_normed;  // GEMM type [N, D]
  at::Tensor qkv;               // Rotated [N, qkv_dim].
  at::Tensor log_sums;          // [query heads * N], sequence by sequence.
  at::Tensor attended;          // [N, D]
  at::Tensor attended_gemm;     // GEMM type [N, D]
  at::Tensor feed_input;        // Residual stream [N, D].
  at::Tensor feed_rms;          // [N]
  at::Tensor feed_normed;       // GEMM type [N, D]
  at::Tensor gate_up;           // [N, 2 F]
  at::Tensor activated;         // GEMM type [N, F]
};

// Sequences one behind the other, padded.
struct PackedBatch {
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
  std::vector<TargetKind> kinds;
  std::vector<int64_t> lengths;
};

PackedBatch Pack(const std::vector<const TrainingSequence*>& batch) {
  PackedBatch packed;
  for (size_t s = 0; s < batch.size(); ++s) {
    const TrainingSequence& sequence = *batch[s];
    const int64_t begin = packed.tokens.size();
    const int64_t size = sequence.tokens.size();
    int64_t end = begin + size;
    // The last sequence also takes up what fills the batch.
    const int64_t multiple = s + 1 == batch.size() ? kBatchMultiple : kSequenceMultiple;
    end = (end + multiple - 1) / multiple * multiple;
    packed.tokens.resize(end, 0);
    packed.targets.resize(end, 0);
    packed.kinds.resize(end, TargetKind::kIgnored);
    packed.lengths.push_back(end - begin);
    for (int64_t t = 0; t < size; ++t) {
      packed.tokens[begin + t] = sequence.tokens[t];
      if (t + 1 < size) {
        packed.targets[begin + t] = sequence.tokens[t + 1];
        packed.kinds[begin + t] = sequence.kinds[t];
      }
    }
  }
  return packed;
}

float* Data(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }

at::Tensor Product(const at::Tensor& a, const at::Tensor& b) { return at::mm(a, b).to(at::kFloat); }

}  // namespace

void LossSums::Add(const LossSums& other) {
  for (int kind = 0; kind < kTargetKinds; ++kind) {
    nats[kind] += other.nats[kind];
    targets[kind] += other.targets[kind];
    hits[kind] += other.hits[kind];
  }
}

double LossSums::MeanNats(TargetKind kind) const {
  const int k = static_cast<int>(kind);
  return targets[k] == 0 ? 0 : nats[k] / targets[k];
}

double LossSums::Accuracy(TargetKind kind) const {
  const int k = static_cast<int>(kind);
  return targets[k] == 0 ? 0 : static_cast<double>(hits[k]) / targets[k];
}

bool HasNativeBf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

TrainingModel::TrainingModel(const TrainingModelConfig& config, uint64_t seed, bool use_bf16)
    : config_(config),
      gemm_type_(use_bf16 ? at::kBFloat16 : at::kFloat),
      rotary_(config.max_positions, config.rope_theta) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto matrix = [&generator](int64_t rows, int64_t columns, double std) {
    return at::empty({rows, columns}, at::kFloat).normal_(0, std, generator);
  };
  // Matrices keep the variance of what they multiply small; those that write
  // to the residual stream share it out among the layers.
  const double in_std = 0.5 / std::sqrt(config.hidden);
  const double out_scale = 1 / std::sqrt(2.0 * config.layers);
  const int64_t attended = config.query_heads * kHeadDim;
  parameters_.push_back(matrix(config.vocabulary, config.hidden, 0.05));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    parameters_.push_back(at::ones({config.hidden}));
    parameters_.push_back(matrix(config.qkv_dim(), config.hidden, in_std));
    parameters_.push_back(matrix(config.hidden, attended, in_std * out_scale));
    parameters_.push_back(at::ones({config.hidden}));
    parameters_.push_back(matrix(2 * config.feed_forward, config.hidden, in_std));
    parameters_.push_back(matrix(config.hidden, config.feed_forward,
                                 0.5 / std::sqrt(config.feed_forward) * out_scale));
  }
  parameters_.push_back(at::ones({config.hidden}));
  RefreshGemmWeights();
}

at::Tensor TrainingModel::ToGemm(const at::Tensor& matrix) const { return matrix.to(gemm_type_); }

void TrainingModel::RefreshGemmWeights() {
  gemm_weights_.clear();
  for (const at::Tensor& parameter : parameters_) {
    gemm_weights_.push_back(ToGemm(parameter));
  }
}

LossSums TrainingModel::ForwardBackward(const std::vector<const TrainingSequence*>& batch,
                                        const std::array<float, kTargetKinds>& weights,
                                        std::vector<at::Tensor>* gradients,
                                        Workspace* workspace) const {
  using Index = ParameterIndex;
  const PackedBatch packed = Pack(batch);
  const int64_t tokens = packed.tokens.size();
  const int64_t dim = config_.hidden;
  const int64_t qkv_dim = config_.qkv_dim();
  const int64_t feed = config_.feed_forward;
  const float epsilon = config_.norm_epsilon;
  const int rotated_heads = config_.query_heads + config_.kv_heads;
  const auto weight = [this](int64_t layer, Index::Role role) {
    return gemm_weights_[Index::Of(layer, role)];
  };
  const auto norm = [this](int64_t layer, Index::Role role) {
    return Data(parameters_[Index::Of(layer, role)]);
  };
  const auto rotate = [&](const at::Tensor& qkv, float direction) {
    float* row = Data(qkv);
    for (int64_t length : packed.lengths) {
      for (int64_t t = 0; t < length; ++t, row += qkv_dim) {
        rotary_.Rotate(t, rotated_heads, direction, row);
      }
    }
  };

  at::Tensor x = at::empty({tokens, dim}, at::kFloat);
  const float* embedding = Data(parameters_[Index::kEmbedding]);
  for (int64_t n = 0; n < tokens; ++n) {
    std::copy_n(embedding + packed.tokens[n] * dim, dim, Data(x) + n * dim);
  }

  std::vector<LayerActivations> layers(config_.layers);
  at::Tensor normed = at::empty({tokens, dim}, at::kFloat);
  for (int64_t l = 0; l < config_.layers; ++l) {
    LayerActivations& layer = layers[l];
    layer.attention_input = x;
    layer.attention_rms = at::empty({tokens}, at::kFloat);
    RmsNormForward(Data(x), norm(l, Index::kInputNorm), tokens, dim, epsilon, Data(normed),
                   Data(layer.attention_rms));
    layer.attention_normed = ToGemm(normed);
    if (gemm_type_ == at::kFloat) normed = at::empty_like(normed);
    layer.qkv = Product(layer.attention_normed, weight(l, Index::kQkv).t());
    rotate(layer.qkv, 1.0f);
    layer.attended = at::empty({tokens, dim}, at::kFloat);
    layer.log_sums = at::empty({tokens * config_.query_heads}, at::kFloat);
    int64_t begin = 0;
    for (int64_t length : packed.lengths) {
      AttentionForward(Data(layer.qkv) + begin * qkv_dim, length, config_.query_heads,
                       config_.kv_heads, Data(layer.attended) + begin * dim,
                       Data(layer.log_sums) + begin * config_.query_heads, &workspace->attention);
      begin += length;
    }
    layer.attended_gemm = ToGemm(layer.attended);
    layer.feed_input = Product(layer.attended_gemm, weight(l, Index::kOutput).t()).add_(x);
    layer.feed_rms = at::empty({tokens}, at::kFloat);
    RmsNormForward(Data(layer.feed_input), norm(l, Index::kPostNorm), tokens, dim, epsilon,
                   Data(normed), Data(layer.feed_rms));
    layer.feed_normed = ToGemm(normed);
    if (gemm_type_ == at::kFloat) normed = at::empty_like(normed);
    layer.gate_up = Product(layer.feed_normed, weight(l, Index::kGateUp).t());
    at::Tensor activated = at::empty({tokens, feed}, at::kFloat);
    SwiGluForward(Data(layer.gate_up), tokens, feed, Data(activated));
    layer.activated = ToGemm(activated);
    x = Product(layer.activated, weight(l, Index::kDown).t()).add_(layer.feed_input);
  }

  const int final_norm = Index::FinalNorm(config_.layers);
  at::Tensor final_rms = at::empty({tokens}, at::kFloat);
  RmsNormForward(Data(x), Data(parameters_[final_norm]), tokens, dim, epsilon, Data(normed),
                 Data(final_rms));
  const at::Tensor final_normed = ToGemm(normed);
  const at::Tensor& output_weight = gemm_weights_[Index::kEmbedding];
  at::Tensor logits = Product(final_normed, output_weight.t());

  std::vector<float> target_weights(tokens);
  for (int64_t n = 0; n < tokens; ++n) {
    target_weights[n] = weights[static_cast<int>(packed.kinds[n])];
  }
  std::vector<float> losses(tokens);
  std::vector<uint8_t> hits(tokens);
  CrossEntropyInPlace(packed.targets.data(), target_weights.data(), tokens, config_.vocabulary,
                      Data(logits), losses.data(), hits.data());
  LossSums sums;
  for (int64_t n = 0; n < tokens; ++n) {
    const int kind = static_cast<int>(packed.kinds[n]);
    sums.nats[kind] += losses[n];
    sums.hits[kind] += hits[n];
    ++sums.targets[kind];
  }
  if (gradients == nullptr) return sums;

  gradients->resize(parameters_.size());
  const auto set_gradient = [gradients](int64_t layer, Index::Role role, const at::Tensor& value) {
    (*gradients)[Index::Of(layer, role)] = value;
  };
  const at::Tensor grad_logits = ToGemm(logits);
  at::Tensor grad_embedding = Product(grad_logits.t(), final_normed);
  at::Tensor grad_normed = Product(grad_logits, output_weight);
  at::Tensor grad_x = at::zeros({tokens, dim}, at::kFloat);
  (*gradients)[final_norm] = at::zeros({dim}, at::kFloat);
  RmsNormBackward(Data(x), Data(parameters_[final_norm]), Data(final_rms), Data(grad_normed),
                  tokens, dim, Data(grad_x), Data((*gradients)[final_norm]));

  at::Tensor grad_qkv = at::empty({tokens, qkv_dim}, at::kFloat);
  at::Tensor grad_gate_up = at::empty({tokens, 2 * feed}, at::kFloat);
  for (int64_t l = config_.layers - 1; l >= 0; --l) {
    const LayerActivations& layer = layers[l];
    const at::Tensor grad_down = ToGemm(grad_x);
    set_gradient(l, Index::kDown, Product(grad_down.t(), layer.activated));
    const at::Tensor grad_activated = Product(grad_down, weight(l, Index::kDown));
    SwiGluBackward(Data(layer.gate_up), Data(grad_activated), tokens, feed, Data(grad_gate_up));
    const at::Tensor grad_gate_up_gemm = ToGemm(grad_gate_up);
    set_gradient(l, Index::kGateUp, Product(grad_gate_up_gemm.t(), layer.feed_normed));
    grad_normed = Product(grad_gate_up_gemm, weight(l, Index::kGateUp));
    at::Tensor grad_norm = at::zeros({dim}, at::kFloat);
    // The residual stream's gradient passes by in grad_x, where the norm adds.
    // In fp32 grad_down is grad_x itself, but it isn't read any more.
    RmsNormBackward(Data(layer.feed_input), norm(l, Index::kPostNorm), Data(layer.feed_rms),
                    Data(grad_normed), tokens, dim, Data(grad_x), Data(grad_norm));
    set_gradient(l, Index::kPostNorm, grad_norm);

    const at::Tensor grad_output = ToGemm(grad_x);
    set_gradient(l, Index::kOutput, Product(grad_output.t(), layer.attended_gemm));
    const at::Tensor grad_attended = Product(grad_output, weight(l, Index::kOutput));
    int64_t begin = 0;
    for (int64_t length : packed.lengths) {
      AttentionBackward(Data(layer.qkv) + begin * qkv_dim, Data(layer.attended) + begin * dim,
                        Data(grad_attended) + begin * dim,
                        Data(layer.log_sums) + begin * config_.query_heads, length,
                        config_.query_heads, config_.kv_heads, Data(grad_qkv) + begin * qkv_dim,
                        &workspace->attention);
      begin += length;
    }
    rotate(grad_qkv, -1.0f);
    const at::Tensor grad_qkv_gemm = ToGemm(grad_qkv);
    set_gradient(l, Index::kQkv, Product(grad_qkv_gemm.t(), layer.attention_normed));
    grad_normed = Product(grad_qkv_gemm, weight(l, Index::kQkv));
    grad_norm = at::zeros({dim}, at::kFloat);
    RmsNormBackward(Data(layer.attention_input), norm(l, Index::kInputNorm),
                    Data(layer.attention_rms), Data(grad_normed), tokens, dim, Data(grad_x),
                    Data(grad_norm));
    set_gradient(l, Index::kInputNorm, grad_norm);
  }

  float* rows = Data(grad_embedding);
  for (int64_t n = 0; n < tokens; ++n) {
    float* row = rows + packed.tokens[n] * dim;
    const float* grad = Data(grad_x) + n * dim;
    for (int64_t i = 0; i < dim; ++i) row[i] += grad[i];
  }
  (*gradients)[Index::kEmbedding] = grad_embedding;
  return sums;
}

}  // namespace kvp
