#include "llm/tasks/variable_tracking.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "llm/tasks/noise_lines.h"
#include "util/split_mix64.h"

namespace kvp {
namespace {

constexpr int kVariables = kVariableHops + 1;
constexpr int kLetters = 5;
constexpr int kExampleLetters = 3;

std::vector<std::string> RandomVariables(int letters, SplitMix64* random) {
  std::vector<std::string> names;
  while (names.size() < kVariables) {
    std::string name;
    for (int i = 0; i < letters; ++i) name += static_cast<char>('A' + random->Below(26));
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

// The template with a chain of those variables.
TaskPrompt ChainPrompt(const std::vector<std::string>& variables, const std::string& value,
                       int64_t lines, SplitMix64* places) {
  std::vector<std::string> chain = {absl::StrCat("VAR ", variables[0], " = ", value)};
  for (int i = 1; i < kVariables; ++i) {
    chain.push_back(absl::StrCat("VAR ", variables[i], " = VAR ", variables[i - 1], " "));
  }
  const std::string context =
      absl::StrJoin(InsertLines(chain, std::vector<std::string>(lines, kNoiseLine), places), "\n");
  TaskPrompt prompt;
  prompt.input = absl::StrCat(
      "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n",
      context, "\nQuestion: Find all variables that are assigned the value ", value,
      " in the text above.");
  prompt.answer_prefix =
      absl::StrCat(" Answer: According to the chain(s) of variable assignment in the text above, ",
                   kVariables, " variables are assigned the value ", value, ", they are: ");
  prompt.answer = absl::StrCat(" ", absl::StrJoin(variables, " "));
  prompt.references = variables;
  prompt.metric = TaskMetric::kAllReferences;
  prompt.max_new_tokens = 30;
  return prompt;
}

std::string RandomValue(SplitMix64* random) { return absl::StrCat(10000 + random->Below(89999)); }

}  // namespace

TaskPrompt VariableTrackingExample(uint64_t seed, int64_t size) {
  SplitMix64 random(seed);
  const std::vector<std::string> variables = RandomVariables(kExampleLetters, &random);
  const std::string value = RandomValue(&random);
  return ChainPrompt(variables, value, size, &random);
}

TaskPrompt VariableTrackingPrompt(int64_t example_lines, uint64_t seed, int64_t size) {
  SplitMix64 seeds(seed);
  SplitMix64 random(seeds.Next());
  SplitMix64 places(seeds.Next());
  const std::vector<std::string> variables = RandomVariables(kLetters, &random);
  const std::string value = RandomValue(&random);
  TaskPrompt prompt = ChainPrompt(variables, value, size, &places);

  TaskPrompt example;
  do {
    example = VariableTrackingExample(seeds.Next(), example_lines);
  } while (absl::StrContains(example.answer_prefix, value));
  prompt.input =
      absl::StrCat(example.PromptText(), example.answer, "\n\n", std::move(prompt.input));
  return prompt;
}

}  // namespace kvp
