#include "trainer/objective.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "trainer/budget_weights.h"
#include "trainer/closed_form_objectives.h"
#include "trainer/sampled_objectives.h"
#include "trainer/supervised_objectives.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Maker = std::unique_ptr<Objective> (*)(const ObjectiveOptions&, BudgetWeights);

struct Entry {
  const char* name;
  Maker make;
};

// The registry. Options and budget weights are valid.
constexpr Entry kObjectives[] = {
    {"exact", [](const ObjectiveOptions& options,
                 BudgetWeights) { return NewExactObjective(options.pairs); }},
    {"log_rank",
     [](const ObjectiveOptions& options, BudgetWeights) {
       return NewLogRankObjective(/*exact_weight=*/0, /*log_rank_weight=*/1, options.pairs);
     }},
    {"exact+log_rank",
     [](const ObjectiveOptions& options, BudgetWeights) {
       return NewLogRankObjective(/*exact_weight=*/1, options.log_rank_weight, options.pairs);
     }},
    {"rloo",
     [](const ObjectiveOptions& options, BudgetWeights weights) {
       return NewRlooObjective(options.permutations, options.budget_weights == "uniform",
                               std::move(weights));
     }},
    {"paper", [](const ObjectiveOptions&, BudgetWeights) { return NewPaperObjective(); }},
    {"regression", [](const ObjectiveOptions&, BudgetWeights) { return NewRegressionObjective(); }},
    {"listwise", [](const ObjectiveOptions&, BudgetWeights) { return NewListwiseObjective(); }},
};

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

}  // namespace

std::vector<ObjectiveResult> Objective::EvaluateBatch(
    absl::Span<const ObjectiveInput> batch) const {
  std::vector<ObjectiveResult> results;
  results.reserve(batch.size());
  for (const ObjectiveInput& context : batch) results.push_back(Evaluate(context));
  return results;
}

const std::vector<std::string>& ObjectiveNames() {
  static const auto* const names = [] {
    auto* all = new std::vector<std::string>;
    for (const Entry& entry : kObjectives) all->push_back(entry.name);
    return all;
  }();
  return *names;
}

absl::StatusOr<std::unique_ptr<Objective>> MakeObjective(const ObjectiveOptions& options) {
  const Entry* const found =
      std::find_if(std::begin(kObjectives), std::end(kObjectives),
                   [&](const Entry& entry) { return options.name == entry.name; });
  if (found == std::end(kObjectives)) {
    return Invalid(absl::StrCat("objective is \"", options.name, "\"; there are ",
                                absl::StrJoin(ObjectiveNames(), ", ")));
  }
  if (options.permutations < 2) {
    return Invalid(absl::StrCat("permutations is ", options.permutations,
                                ": a leave-one-out baseline needs two"));
  }
  if (!(options.log_rank_weight >= 0)) {
    return Invalid(absl::StrCat("log_rank_weight is ", options.log_rank_weight, ", below 0"));
  }
  if (options.pairs < 0 || options.pairs == 1) {
    return Invalid(absl::StrCat("pairs is ", options.pairs, ", not 0 for all, or 2 or more"));
  }
  ASSIGN_OR_RETURN(BudgetWeights weights, BudgetWeights::Parse(options.budget_weights));
  if (options.budget_weights != "uniform" && options.name != "rloo") {
    return Invalid(absl::StrCat("budget_weights is \"", options.budget_weights,
                                "\": only the objective rloo can weigh budgets, not ",
                                options.name));
  }
  return found->make(options, std::move(weights));
}

}  // namespace kvp
