// `kvp bench train`: how fast and how well agents are trained, against the recipe of the paper.

#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "tests/benchmarks/embedded_traces.h"
#include "tests/benchmarks/training_quality.h"
#include "tests/benchmarks/training_ranks.h"
#include "tests/benchmarks/training_speed.h"
#include "trainer/recipe.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/malloc_tuning.h"
#include "util/math_threads.h"
#include "util/status_macros.h"

ABSL_FLAG(std::string, parts, "steps,ranks,paper,final,length",
          "What is measured: steps (matmul_efficiency, head_step_ms), ranks (mpi_2_over_1), paper "
          "(speedup_to_paper_cost), final (final_cost_…), length (length_extrapolation).");
ABSL_FLAG(int64_t, traces, 128, "Traces to train on; a quarter as many are held out.");
ABSL_FLAG(int64_t, tokens, 240, "Tokens of a context, but for `length`.");
ABSL_FLAG(int64_t, step_tokens, 480, "Tokens of a context for `steps` and `ranks`.");
ABSL_FLAG(int64_t, rank_steps, 60, "Steps for `ranks`.");
ABSL_FLAG(int64_t, paper_steps, 300, "Steps of the paper's recipe for `paper`.");
ABSL_FLAG(double, final_seconds, 60, "Training time of each recipe for `final`.");
ABSL_FLAG(int64_t, length_tokens, 960, "Tokens of the contexts to train on for `length`.");
ABSL_FLAG(int64_t, long_tokens, 4096, "Tokens of the contexts to evaluate on for `length`.");
ABSL_FLAG(int64_t, length_steps, 300, "Steps for `length`.");
ABSL_FLAG(int64_t, threads, 2, "Compute threads, but for `ranks`, where each rank has one.");
ABSL_FLAG(std::string, json, "", "Write the results to this file.");

namespace kvp {
namespace {

constexpr char kUsage[] =
    R"(bench train: how fast agents learn, on traces of the embedded model that it makes first in TMPDIR.

The paper's recipe is `train --recipe=paper --group-size=1`: its agent, objective and optimiser, a head at a time, with
this program's own fast passes. Times are of steps alone, evaluations left out.

Examples:
  bench_train --json train.json
  bench_train --parts=steps,ranks --json speed.json)";

constexpr int64_t kEvalContexts = 32;
constexpr uint64_t kSeed = 1;

class TrainBench {
 public:
  absl::Status Run() {
    const std::vector<std::pair<std::string, std::function<absl::Status()>>> parts = {
        {"steps", [this] { return MeasureSteps(); }},
        {"ranks", [this] { return MeasureRanks(); }},
        {"paper", [this] { return MeasureTimeToPaperCost(); }},
        {"final", [this] { return MeasureFinalCosts(); }},
        {"length", [this] { return MeasureLengths(); }}};
    const std::vector<std::string> wanted = absl::StrSplit(absl::GetFlag(FLAGS_parts), ',');
    json_["threads"] = absl::GetFlag(FLAGS_threads);
    for (const auto& [name, measure] : parts) {
      if (std::count(wanted.begin(), wanted.end(), name) > 0) RETURN_IF_ERROR(measure());
    }
    const std::string path = absl::GetFlag(FLAGS_json);
    if (path.empty()) return absl::OkStatus();
    return WriteFileAtomically(path, {json_.dump(2), "\n"});
  }

 private:
  // A recipe with what all runs here share.
  static absl::StatusOr<TrainingOptions> Options(const std::string& recipe) {
    ASSIGN_OR_RETURN(TrainingOptions options, OptionsOfRecipe(recipe));
    options.group.gradient.seed = kSeed;
    options.eval_contexts = kEvalContexts;
    return options;
  }

  static EmbeddedTraces Traces(int64_t tokens) {
    EmbeddedTraces traces;
    traces.train = absl::GetFlag(FLAGS_traces);
    traces.held_out = std::max<int64_t>(4, traces.train / 4);
    traces.train_tokens = traces.held_out_tokens = tokens;
    return traces;
  }

  absl::StatusOr<const BenchStore*> ShortTraces() {
    if (short_traces_ == nullptr) {
      ASSIGN_OR_RETURN(short_traces_, CollectEmbeddedTraces(Traces(absl::GetFlag(FLAGS_tokens))));
    }
    return short_traces_.get();
  }

  absl::StatusOr<const BenchStore*> StepTraces() {
    if (step_traces_ == nullptr) {
      EmbeddedTraces traces = Traces(absl::GetFlag(FLAGS_step_tokens));
      traces.train = 16;
      traces.held_out = 1;
      ASSIGN_OR_RETURN(step_traces_, CollectEmbeddedTraces(traces));
    }
    return step_traces_.get();
  }

  absl::Status MeasureSteps() {
    ASSIGN_OR_RETURN(const BenchStore* store, StepTraces());
    ASSIGN_OR_RETURN(const TrainingOptions options, Options("kvp"));
    nlohmann::ordered_json of_heads;
    StepSpeed few;
    for (const auto& [heads, steps] :
         {std::pair<int64_t, int64_t>{8, 20}, {64, 6}, {256, 3}, {1024, 2}}) {
      ASSIGN_OR_RETURN(const StepSpeed speed, TimeSteps(options, *store, heads, steps));
      if (heads == 8) few = speed;
      of_heads[absl::StrCat(heads)] = speed.head_step_ms;
      std::cout << absl::StreamFormat(
          "%4d heads: %.3f ms a head-step of %d entries, %.1f GFLOP/s, %.0f %% of it gradients\n",
          heads, speed.head_step_ms, speed.entries, speed.useful_flops / 1e9,
          100 * speed.gradient_share);
    }
    // Beside the smallest case, so that both see the same machine.
    ASSIGN_OR_RETURN(const StepSpeed again, TimeSteps(options, *store, 8, 20));
    const double product = MatrixProductSpeed();
    const double useful = std::max(few.useful_flops, again.useful_flops);
    json_["matmul_efficiency"] = useful / product;
    json_["useful_gflops"] = useful / 1e9;
    json_["large_matmul_gflops"] = product / 1e9;
    json_["head_step_ms"] = of_heads;
    json_["head_step_entries"] = few.entries;
    json_["head_step_width"] = options.group.gradient.shape.width;
    json_["head_step_group_size"] = options.group_size;
    std::cout << absl::StreamFormat("matmul_efficiency %.3f: %.1f of %.1f GFLOP/s\n",
                                    useful / product, useful / 1e9, product / 1e9);
    for (const int64_t width : {128, 256}) {
      TrainingOptions wider = options;
      wider.group.gradient.shape.width = width;
      ASSIGN_OR_RETURN(const StepSpeed speed, TimeSteps(wider, *store, 8, 5));
      const double efficiency = speed.useful_flops / MatrixProductSpeed();
      json_[absl::StrCat("matmul_efficiency_width_", width)] = efficiency;
      std::cout << absl::StreamFormat("matmul_efficiency of width %d: %.3f\n", width, efficiency);
    }
    return absl::OkStatus();
  }

  absl::Status MeasureRanks() {
    ASSIGN_OR_RETURN(const BenchStore* store, StepTraces());
    const int64_t steps = absl::GetFlag(FLAGS_rank_steps);
    ASSIGN_OR_RETURN(const double one, HeadStepsPerSecond(*store, 1, steps));
    ASSIGN_OR_RETURN(const double two, HeadStepsPerSecond(*store, 2, steps));
    json_["mpi_2_over_1"] = two / one;
    json_["head_steps_per_second_1_rank"] = one;
    json_["head_steps_per_second_2_ranks"] = two;
    std::cout << absl::StreamFormat("mpi_2_over_1 %.3f: %.1f and %.1f head-steps/s\n", two / one,
                                    one, two);
    return absl::OkStatus();
  }

  absl::Status MeasureTimeToPaperCost() {
    ASSIGN_OR_RETURN(const BenchStore* store, ShortTraces());
    const int64_t steps = absl::GetFlag(FLAGS_paper_steps);
    ASSIGN_OR_RETURN(TrainingOptions paper, Options("paper"));
    paper.group_size = 1;
    paper.eval_every = steps;
    ASSIGN_OR_RETURN(const Evaluated theirs, TrainUntil(paper, *store, [&](const Evaluated& at) {
                       return at.step >= steps;
                     }));
    ASSIGN_OR_RETURN(TrainingOptions ours, Options("kvp"));
    ours.eval_every = 1;
    ASSIGN_OR_RETURN(const Evaluated reached, TrainUntil(ours, *store, [&](const Evaluated& at) {
                       return at.cost <= theirs.cost;
                     }));
    if (reached.cost > theirs.cost) {
      return absl::InternalError(absl::StrCat("the default ends at cost ", reached.cost,
                                              ", above the paper's ", theirs.cost));
    }
    json_["speedup_to_paper_cost"] = theirs.seconds / reached.seconds;
    json_["paper_seconds"] = theirs.seconds;
    json_["paper_steps"] = theirs.step;
    json_["paper_cost"] = theirs.cost;
    json_["default_seconds"] = reached.seconds;
    json_["default_steps"] = reached.step;
    json_["default_cost_there"] = reached.cost;
    json_["context_tokens"] = absl::GetFlag(FLAGS_tokens);
    std::cout << absl::StreamFormat(
        "speedup_to_paper_cost %.1f: held-out cost %.3f after %d steps in %.1f s; the default has "
        "%.3f after %d steps in %.2f s\n",
        theirs.seconds / reached.seconds, theirs.cost, theirs.step, theirs.seconds, reached.cost,
        reached.step, reached.seconds);
    return absl::OkStatus();
  }

  absl::Status MeasureFinalCosts() {
    ASSIGN_OR_RETURN(const BenchStore* store, ShortTraces());
    const double seconds = absl::GetFlag(FLAGS_final_seconds);
    const auto report = [&](const std::string& name, const Evaluated& end) {
      json_["final_cost_" + name] = end.cost;
      json_["final_steps_" + name] = end.step;
      json_["final_seconds_" + name] = end.seconds;
      std::cout << absl::StreamFormat("final_cost_%-17s %.4f after %d steps in %.1f s\n", name,
                                      end.cost, end.step, end.seconds);
    };
    // The default, and it with another objective: the schedule ends with the time.
    for (const auto& [name, objective] :
         {std::pair("default", ""), {"rloo", "rloo"}, {"paper_objective", "paper"}}) {
      ASSIGN_OR_RETURN(TrainingOptions options, Options("kvp"));
      if (*objective != '\0') options.objective.name = objective;
      if (options.objective.name == "paper") options.batch = 64;
      ASSIGN_OR_RETURN(const Evaluated end, TrainFor(options, *store, seconds));
      report(name, end);
    }
    // The paper's whole recipe, all heads of a group at once, on its own schedule.
    ASSIGN_OR_RETURN(TrainingOptions paper, Options("paper"));
    paper.eval_every = 1;
    ASSIGN_OR_RETURN(const Evaluated end, TrainUntil(paper, *store, [&](const Evaluated& at) {
                       return at.seconds >= seconds;
                     }));
    report("paper", end);
    return absl::OkStatus();
  }

  absl::Status MeasureLengths() {
    for (const bool within : {false, true}) {
      // Within the length that the model was trained for: a quarter of it to all of it.
      EmbeddedTraces traces = Traces(absl::GetFlag(FLAGS_length_tokens));
      traces.held_out_tokens = absl::GetFlag(FLAGS_long_tokens);
      traces.held_out = 16;
      if (within) traces = Traces(240), traces.held_out_tokens = 960;
      ASSIGN_OR_RETURN(const std::unique_ptr<BenchStore> store, CollectEmbeddedTraces(traces));
      double costs[2];
      for (const bool is_paper : {false, true}) {
        ASSIGN_OR_RETURN(TrainingOptions options, Options("kvp"));
        if (is_paper) RETURN_IF_ERROR(SetAgentKind("paper", &options));
        options.group.optimizer.steps = absl::GetFlag(FLAGS_length_steps);
        options.eval_every = options.group.optimizer.steps;
        ASSIGN_OR_RETURN(const Evaluated end,
                         TrainUntil(options, *store, [](const Evaluated&) { return false; }));
        costs[is_paper ? 1 : 0] = end.cost;
      }
      const std::string suffix = within ? "_within_model_length" : "";
      json_["length_extrapolation" + suffix] = costs[1] / costs[0];
      json_["length_extrapolation_cost_default" + suffix] = costs[0];
      json_["length_extrapolation_cost_paper_agent" + suffix] = costs[1];
      json_["length_extrapolation_train_tokens" + suffix] = traces.train_tokens;
      json_["length_extrapolation_held_out_tokens" + suffix] = traces.held_out_tokens;
      std::cout << absl::StreamFormat(
          "length_extrapolation%s %.3f: trained on %d tokens, evaluated on %d: cost %.3f, the "
          "paper's agent trained the same %.3f\n",
          suffix, costs[1] / costs[0], traces.train_tokens, traces.held_out_tokens, costs[0],
          costs[1]);
    }
    return absl::OkStatus();
  }

  std::unique_ptr<BenchStore> short_traces_;
  std::unique_ptr<BenchStore> step_traces_;
  nlohmann::ordered_json json_;
};

std::string UsageProblem() {
  const auto check = [](const char* name, int64_t value, int64_t least) {
    if (value >= least) return std::string();
    return absl::StrCat("flag --", name, ": value \"", value, "\": it must be at least ", least);
  };
  for (const absl::string_view part : absl::StrSplit(absl::GetFlag(FLAGS_parts), ',')) {
    const std::vector<std::string> known = {"steps", "ranks", "paper", "final", "length"};
    if (std::count(known.begin(), known.end(), part) == 0) {
      return absl::StrCat("flag --parts: value \"", part, "\": there are ",
                          absl::StrJoin(known, ", "));
    }
  }
  for (const std::string& problem : {check("traces", absl::GetFlag(FLAGS_traces), 4),
                                     check("tokens", absl::GetFlag(FLAGS_tokens), 64),
                                     check("step-tokens", absl::GetFlag(FLAGS_step_tokens), 64),
                                     check("rank-steps", absl::GetFlag(FLAGS_rank_steps), 1),
                                     check("paper-steps", absl::GetFlag(FLAGS_paper_steps), 1),
                                     check("length-tokens", absl::GetFlag(FLAGS_length_tokens), 64),
                                     check("long-tokens", absl::GetFlag(FLAGS_long_tokens), 64),
                                     check("length-steps", absl::GetFlag(FLAGS_length_steps), 1),
                                     check("threads", absl::GetFlag(FLAGS_threads), 1)}) {
    if (!problem.empty()) return problem;
  }
  if (absl::GetFlag(FLAGS_final_seconds) > 0) return "";
  return absl::StrCat("flag --final-seconds: value \"", absl::GetFlag(FLAGS_final_seconds),
                      "\": it must be above 0");
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  const auto positional = kvp::ParseCommandLine(argc, argv, kvp::kUsage);
  if (!positional.empty()) {
    return kvp::UsageError(absl::StrCat("unknown argument \"", positional[0], "\""));
  }
  if (const std::string problem = kvp::UsageProblem(); !problem.empty()) {
    return kvp::UsageError(problem);
  }
  kvp::SetLogName("bench");
  kvp::SetMathThreads(absl::GetFlag(FLAGS_threads));
  return kvp::ExitStatus(kvp::TrainBench().Run());
}
