#include "trainer/batch_gradient.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "ATen/Parallel.h"
#include "policy/agent_pass.h"
#include "policy/plackett_luce.h"
#include "policy/seeded_random.h"

namespace kvp {
namespace {

// Names what a number is drawn for, beside the seed.
enum RandomUse : uint64_t { kEntries = 1, kRankings = 2 };

// Entries of heads that go through the network together on the CPU: few enough for activations to
// stay in the processor's cache, enough for an operation's own cost not to count.
constexpr int64_t kTileEntries = 1024;

// A context, or the sample of its entries that this step looks at.
struct Prepared {
  AgentInputs inputs;
  ObjectiveInput objective;  // but for the scores
};

Prepared Prepare(const GradientOptions& options, HeadRange heads, int64_t step,
                 const BatchContext& context) {
  const uint64_t number = static_cast<uint64_t>(context.number);
  at::Tensor keys = context.tensors.keys;
  at::Tensor values = context.tensors.values;
  Prepared prepared;
  ObjectiveInput& objective = prepared.objective;
  objective.importance = context.tensors.importance;
  objective.entries = objective.importance.size(1);
  objective.oracle_cost = OracleReward(objective.importance).neg();
  at::Tensor positions = at::arange(objective.entries, at::kLong);
  if (options.sampled_entries > 0 && options.sampled_entries < objective.entries) {
    positions = at::tensor(
        SeededSubset(objective.entries, options.sampled_entries,
                     MixSeed({options.seed, kEntries, static_cast<uint64_t>(step), number})),
        at::kLong);
    objective.importance = objective.importance.index_select(1, positions);
    const at::Tensor index = positions.to(keys.device());
    keys = keys.index_select(1, index);
    values = values.index_select(1, index);
  }
  for (int64_t head = heads.begin; head < heads.end; ++head) {
    objective.seeds.push_back(MixSeed({options.seed, kRankings, static_cast<uint64_t>(head),
                                       static_cast<uint64_t>(step), number}));
  }
  prepared.inputs = MakeAgentInputs(options.shape, keys, values, positions.to(keys.device()));
  return prepared;
}

// What an objective sees of the heads [first, first + count).
ObjectiveInput HeadsOf(const ObjectiveInput& input, int64_t first, int64_t count,
                       const at::Tensor& scores) {
  ObjectiveInput part;
  part.scores = scores.detach().to(at::kCPU);
  part.importance = input.importance.narrow(0, first, count);
  part.entries = input.entries;
  part.oracle_cost = input.oracle_cost.narrow(0, first, count);
  part.seeds.assign(input.seeds.begin() + first, input.seeds.begin() + first + count);
  return part;
}

AgentParameters HeadsOf(const AgentParameters& parameters, int64_t first, int64_t count) {
  AgentParameters part;
  for (const auto& [name, tensor] : parameters) part[name] = tensor.narrow(0, first, count);
  return part;
}

// AgentPass's interface by autograd: for devices that it doesn't do.
class AutogradPass {
 public:
  AutogradPass(const AgentShape& shape, const AgentParameters& parameters,
               const AgentInputs& inputs, at::ScalarType dtype)
      : leaves_(parameters) {
    for (auto& [name, tensor] : leaves_) tensor = tensor.detach().requires_grad_(true);
    scores_ = AgentScores(shape, leaves_, inputs, dtype);
  }

  const at::Tensor& scores() const { return scores_; }

  void Backward(const at::Tensor& score_gradient, const AgentParameters& gradient) const {
    // Autograd adds to a gradient that is there already.
    for (auto& [name, tensor] : leaves_) tensor.mutable_grad() = gradient.at(name);
    scores_.backward(score_gradient);
  }

 private:
  AgentParameters leaves_;
  at::Tensor scores_;
};

class BatchPass {
 public:
  BatchPass(const GradientOptions& options, HeadRange heads, const Objective& objective,
            const at::Tensor& parameters, int64_t batch)
      : options_(options),
        heads_(heads),
        objective_(objective),
        scale_(1 / static_cast<double>(batch)),
        parameters_(ParameterViews(options.shape, parameters)) {
    result_.loss = at::zeros({heads.size()}, at::kDouble);
    result_.gradient = at::zeros_like(parameters);
    gradient_ = ParameterViews(options.shape, result_.gradient);
    fused_ = options.fused && parameters.device().is_cpu();
  }

  void Add(int64_t step, absl::Span<const BatchContext> contexts) {
    std::vector<Prepared> prepared;
    int64_t longest = 1;
    entries_ = 0;
    for (const BatchContext& context : contexts) {
      prepared.push_back(Prepare(options_, heads_, step, context));
      const int64_t entries = prepared.back().inputs.keys.size(1);
      longest = std::max(longest, entries);
      entries_ += entries;
    }
    const int64_t tile =
        fused_ ? std::max<int64_t>(at::get_num_threads(), kTileEntries / longest) : heads_.size();
    for (int64_t first = 0; first < heads_.size(); first += tile) {
      const int64_t count = std::min(tile, heads_.size() - first);
      if (fused_) {
        AddHeads<AgentPass>(prepared, first, count);
      } else {
        AddHeads<AutogradPass>(prepared, first, count);
      }
    }
  }

  BatchGradient result() const { return result_; }

 private:
  // Views of some heads, made once: there are many, and contexts of one length share them.
  struct Tile {
    AgentParameters parameters;
    AgentParameters gradient;
  };
  const Tile& TileOf(int64_t first, int64_t count) {
    const auto [found, is_new] = tiles_.try_emplace({first, count});
    if (is_new) {
      found->second = {HeadsOf(parameters_, first, count), HeadsOf(gradient_, first, count)};
    }
    return found->second;
  }

  template <typename Pass>
  void AddHeads(const std::vector<Prepared>& contexts, int64_t first, int64_t count) {
    const Tile& tile = TileOf(first, count);
    const AgentParameters& parameters = tile.parameters;
    const AgentParameters& gradient = tile.gradient;
    const auto forward = [&](const Prepared& context) {
      return Pass(options_.shape, parameters, context.inputs.Heads(first, count), options_.dtype);
    };
    const bool keep =
        contexts.size() == 1 ||
        count * entries_ * AgentPass::BytesPerEntry(options_.shape) <= options_.kept_bytes;
    std::vector<Pass> passes;
    std::vector<ObjectiveInput> inputs;
    for (const Prepared& context : contexts) {
      Pass pass = forward(context);
      inputs.push_back(HeadsOf(context.objective, first, count, pass.scores()));
      if (keep) passes.push_back(std::move(pass));
    }
    const std::vector<ObjectiveResult> results = objective_.EvaluateBatch(inputs);
    for (size_t i = 0; i < contexts.size(); ++i) {
      result_.loss.narrow(0, first, count).add_(results[i].loss, scale_);
      const at::Tensor score_gradient =
          (results[i].gradient * scale_).to(contexts[i].inputs.keys.device());
      if (keep) {
        passes[i].Backward(score_gradient, gradient);
      } else {
        forward(contexts[i]).Backward(score_gradient, gradient);
      }
    }
  }

  const GradientOptions& options_;
  const HeadRange heads_;
  const Objective& objective_;
  const double scale_;
  const AgentParameters parameters_;
  BatchGradient result_;
  AgentParameters gradient_;
  std::map<std::pair<int64_t, int64_t>, Tile> tiles_;  // by first head and number of heads
  bool fused_ = true;
  int64_t entries_ = 0;  // of the contexts that are being added
};

}  // namespace

BatchGradient ComputeBatchGradient(const GradientOptions& options, HeadRange heads,
                                   const Objective& objective, const at::Tensor& parameters,
                                   int64_t step, absl::Span<const BatchContext> contexts,
                                   int64_t batch) {
  BatchPass pass(options, heads, objective, parameters, batch);
  if (objective.couples_contexts()) {
    if (!contexts.empty()) pass.Add(step, contexts);
  } else {
    // Context by context: its tensors are still in the processor's cache for the way back.
    for (const BatchContext& context : contexts) pass.Add(step, {&context, 1});
  }
  return pass.result();
}

}  // namespace kvp
