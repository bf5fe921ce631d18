#include "trainer/batch_gradient.h"

#include "ATen/ATen.h"
#include "policy/plackett_luce.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

// Names what a number is drawn for, beside the seed.
enum RandomUse : uint64_t { kEntries = 1, kRankings = 2 };

}  // namespace

BatchGradient ComputeBatchGradient(const GradientOptions& options, HeadRange heads,
                                   const Objective& objective, const AgentParameters& parameters,
                                   int64_t step, absl::Span<const BatchContext> contexts,
                                   int64_t batch) {
  BatchGradient result;
  result.loss = at::zeros({heads.size()}, at::kDouble);
  // Context by context: one context's activations stay in the processor's cache, and none is
  // padded.
  for (const BatchContext& context : contexts) {
    const uint64_t number = static_cast<uint64_t>(context.number);
    at::Tensor keys = context.tensors.keys;
    at::Tensor values = context.tensors.values;
    ObjectiveInput input;
    input.importance = context.tensors.importance;
    input.entries = input.importance.size(1);
    input.oracle_cost = OracleReward(input.importance).neg();
    at::Tensor positions = at::arange(input.entries, at::kLong);
    if (options.sampled_entries > 0 && options.sampled_entries < input.entries) {
      positions = at::tensor(
          SeededSubset(input.entries, options.sampled_entries,
                       MixSeed({options.seed, kEntries, static_cast<uint64_t>(step), number})),
          at::kLong);
      input.importance = input.importance.index_select(1, positions);
      positions = positions.to(keys.device());
      keys = keys.index_select(1, positions);
      values = values.index_select(1, positions);
    }
    const at::Tensor scores =
        AgentScores(options.shape, parameters, keys, values, positions.to(keys.device()));
    input.scores = scores.detach().to(at::kCPU);
    for (int64_t head = heads.begin; head < heads.end; ++head) {
      input.seeds.push_back(MixSeed({options.seed, kRankings, static_cast<uint64_t>(head),
                                     static_cast<uint64_t>(step), number}));
    }
    const ObjectiveResult evaluated = objective.Evaluate(input);
    result.loss += evaluated.loss;
    scores.backward((evaluated.gradient / static_cast<double>(batch)).to(scores.device()));
  }
  result.loss /= static_cast<double>(batch);
  std::vector<at::Tensor> gradients;
  for (const auto& [name, tensor] : parameters) {
    const at::Tensor gradient = tensor.grad();
    gradients.push_back((gradient.defined() ? gradient : at::zeros_like(tensor)).flatten(1));
  }
  result.gradient = at::cat(gradients, 1).detach();
  return result;
}

}  // namespace kvp
