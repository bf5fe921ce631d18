#include "tests/benchmarks/training_speed.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "ATen/ATen.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "policy/agent_network.h"
#include "storage/trace_reader.h"
#include "trainer/communicator.h"
#include "trainer/group_trainer.h"
#include "trainer/head_group_tensors.h"
#include "trainer/trace_set.h"
#include "util/head_split.h"
#include "util/median.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kMatrixRows = 2048;
constexpr int kMatrixRounds = 8;

double SecondsSince(absl::Time begin) { return absl::ToDoubleSeconds(absl::Now() - begin); }

// Multiplications and additions of the matrix products of one entry's way forward and back: each
// weight is used once forward, once for its own gradient, and once for its input's where that is
// needed.
double FlopsOfEntry(const AgentShape& shape) {
  double flops = 0;
  for (const auto& [name, dimensions] : ParameterShapes(shape)) {
    if (dimensions.size() != 2 || name == "position.weight") continue;
    double inputs_with_gradient = static_cast<double>(dimensions[1]);
    if (name == "key.weight" || name == "value.weight") inputs_with_gradient = 0;
    if (name == "hidden.0.weight" && shape.position_table == 0) {
      inputs_with_gradient -= static_cast<double>(shape.position_features);
    }
    flops += 2 * static_cast<double>(dimensions[0]) *
             (2 * static_cast<double>(dimensions[1]) + inputs_with_gradient);
  }
  return flops;
}

// A group's traces as they lie in memory while training.
absl::StatusOr<std::vector<std::unique_ptr<HeadGroupTensors>>> LoadGroup(TraceReader& reader,
                                                                         const TraceSet& traces,
                                                                         HeadRange heads,
                                                                         int64_t count) {
  std::vector<std::unique_ptr<HeadGroupTensors>> loaded;
  for (int64_t trace = 0; trace < count; ++trace) {
    loaded.push_back(std::make_unique<HeadGroupTensors>(
        traces.trace(trace), heads, traces.model().kv_heads(), traces.model().head_dim()));
  }
  for (int64_t head = heads.begin; head < heads.end; ++head) {
    RETURN_IF_ERROR(reader
                        .ReadHead(HeadId::FromIndex(head, traces.model().kv_heads()), "train",
                                  [&](HeadBlock block) -> absl::Status {
                                    for (int64_t trace = 0; trace < count; ++trace) {
                                      if (traces.trace(trace).id == block.key.trace_id) {
                                        return loaded[trace]->Add(block);
                                      }
                                    }
                                    return absl::OkStatus();
                                  })
                        .status());
  }
  for (const auto& tensors : loaded) tensors->Finish();
  return loaded;
}

}  // namespace

double MatrixProductSpeed() {
  const at::Tensor a = at::rand({kMatrixRows, kMatrixRows});
  const at::Tensor b = at::rand({kMatrixRows, kMatrixRows});
  at::Tensor c = at::mm(a, b);
  double best = 0;
  for (int round = 0; round < kMatrixRounds; ++round) {
    const absl::Time begin = absl::Now();
    at::mm_out(c, a, b);
    best = std::max(best, 2.0 * kMatrixRows * kMatrixRows * kMatrixRows / SecondsSince(begin));
  }
  return best;
}

absl::StatusOr<StepSpeed> TimeSteps(const TrainingOptions& options, const BenchStore& store,
                                    int64_t heads, int64_t steps) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TraceReader> reader, store.Reader());
  const std::unique_ptr<Communicator> alone = NewSingleCommunicator();
  ASSIGN_OR_RETURN(const TraceSet traces, TraceSet::List(*reader, "train", *alone));
  const int64_t count = std::min(traces.size(), options.batch);
  const int64_t size = options.group_size;
  std::vector<std::vector<std::unique_ptr<HeadGroupTensors>>> data;
  for (int64_t begin = 0; begin + size <= traces.heads(); begin += size) {
    ASSIGN_OR_RETURN(auto of_group, LoadGroup(*reader, traces, {begin, begin + size}, count));
    data.push_back(std::move(of_group));
  }
  if (data.empty()) {
    return absl::InvalidArgumentError("a group has more heads than the model");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Objective> objective, MakeObjective(options.objective));
  GroupTrainer::Options group_options = options.group;
  group_options.gradient.shape = ShapeFor(options, traces.model());
  std::vector<std::unique_ptr<GroupTrainer>> groups;
  for (int64_t begin = 0; begin < heads; begin += size) {
    groups.push_back(std::make_unique<GroupTrainer>(group_options, HeadRange{begin, begin + size},
                                                    objective.get(), at::kCPU));
  }
  StepSpeed speed;
  for (int64_t trace = 0; trace < count; ++trace) speed.entries += traces.contexts()[trace].cut;
  std::vector<double> seconds;
  double gradient_seconds = 0;
  // The first step isn't counted.
  for (int64_t step = 0; step <= steps; ++step) {
    const absl::Time begin = absl::Now();
    double in_gradients = 0;
    for (size_t group = 0; group < groups.size(); ++group) {
      std::vector<BatchContext> batch;
      for (int64_t trace = 0; trace < count; ++trace) {
        batch.push_back(
            {trace, data[group % data.size()][trace]->Load(traces.contexts()[trace], at::kCPU)});
      }
      const absl::Time begin_gradient = absl::Now();
      const BatchGradient gradient = groups[group]->Gradient(step, batch, count);
      in_gradients += SecondsSince(begin_gradient);
      groups[group]->Apply(step, gradient);
    }
    if (step == 0) continue;
    seconds.push_back(SecondsSince(begin));
    gradient_seconds += in_gradients;
  }
  double all = 0;
  for (const double of_step : seconds) all += of_step;
  speed.seconds = Median(seconds);
  speed.head_step_ms = 1e3 * speed.seconds / static_cast<double>(heads);
  speed.useful_flops = FlopsOfEntry(group_options.gradient.shape) *
                       static_cast<double>(speed.entries * heads) / speed.seconds;
  speed.gradient_share = gradient_seconds / all;
  return speed;
}

}  // namespace kvp
