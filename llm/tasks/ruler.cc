#include "llm/tasks/ruler.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "llm/tasks/document_question.h"
#include "llm/tasks/fit.h"
#include "llm/tasks/needle_task.h"
#include "llm/tasks/variable_tracking.h"
#include "llm/tasks/word_counting.h"
#include "util/split_mix64.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int32_t>::max();
constexpr int64_t kExampleTokens = 500;  // of vt's solved example
constexpr int64_t kTokensPerCodedWord = 50;
constexpr int64_t kMinCodedWords = 5;

enum class Family { kNeedle, kVariableTracking, kCommonWords, kFrequentWords, kQuestions };

struct TaskDefinition {
  std::string name;
  Family family = Family::kNeedle;
  RulerInput input = RulerInput::kNone;
  int64_t answer_tokens = 128;
  NeedleTask needle;  // of family kNeedle
};

using Haystack = NeedleTask::Haystack;
using Kind = NeedleTask::Kind;

TaskDefinition Needles(const char* name, Haystack haystack, Kind key, Kind value, int keys = 1,
                       int values_per_key = 1, int queries = 1) {
  TaskDefinition definition;
  definition.name = name;
  definition.input = haystack == Haystack::kEssay ? RulerInput::kText : RulerInput::kNone;
  definition.needle = {haystack, key, value, keys, values_per_key, queries};
  return definition;
}

TaskDefinition Other(const char* name, Family family, int64_t answer_tokens,
                     RulerInput input = RulerInput::kNone) {
  TaskDefinition definition;
  definition.name = name;
  definition.family = family;
  definition.input = input;
  definition.answer_tokens = answer_tokens;
  return definition;
}

const std::vector<TaskDefinition>& Definitions() {
  static const auto& definitions = *new std::vector<TaskDefinition>({
      Needles("niah_single_1", Haystack::kNoise, Kind::kWords, Kind::kNumbers),
      Needles("niah_single_2", Haystack::kEssay, Kind::kWords, Kind::kNumbers),
      Needles("niah_single_3", Haystack::kEssay, Kind::kWords, Kind::kUuids),
      Needles("niah_multikey_1", Haystack::kEssay, Kind::kWords, Kind::kNumbers, /*keys=*/4),
      Needles("niah_multikey_2", Haystack::kNeedles, Kind::kWords, Kind::kNumbers),
      Needles("niah_multikey_3", Haystack::kNeedles, Kind::kUuids, Kind::kUuids),
      Needles("niah_multivalue", Haystack::kEssay, Kind::kWords, Kind::kNumbers, /*keys=*/1,
              /*values_per_key=*/4),
      Needles("niah_multiquery", Haystack::kEssay, Kind::kWords, Kind::kNumbers, /*keys=*/4,
              /*values_per_key=*/1, /*queries=*/4),
      Other("vt", Family::kVariableTracking, 30),
      Other("cwe", Family::kCommonWords, 120),
      Other("fwe", Family::kFrequentWords, 50),
      Other("qa_1", Family::kQuestions, 32, RulerInput::kSquad),
      Other("qa_2", Family::kQuestions, 32, RulerInput::kHotpotQa),
  });
  return definitions;
}

const TaskDefinition* Find(absl::string_view name) {
  for (const TaskDefinition& definition : Definitions()) {
    if (definition.name == name) return &definition;
  }
  return nullptr;
}

RulerInput InputOfFormat(QuestionSet::Format format) {
  return format == QuestionSet::Format::kSquad ? RulerInput::kSquad : RulerInput::kHotpotQa;
}

// A task at one seed, as a function of the haystack's size.
struct Sizing {
  int64_t minimum = 1;
  int64_t maximum = kUnlimited;
  std::function<TaskPrompt(int64_t size)> render;
};

}  // namespace

const std::vector<std::string>& RulerTasks() {
  static const auto& names = *[] {
    auto* all = new std::vector<std::string>();
    for (const TaskDefinition& definition : Definitions()) all->push_back(definition.name);
    return all;
  }();
  return names;
}

absl::StatusOr<RulerInput> RulerInputOf(absl::string_view task) {
  const TaskDefinition* definition = Find(task);
  if (definition != nullptr) return definition->input;
  return absl::InvalidArgumentError(
      absl::StrCat("task \"", task, "\" is none of ", absl::StrJoin(RulerTasks(), ", ")));
}

int64_t RulerAnswerTokens(const std::vector<std::string>& tasks) {
  int64_t most = 0;
  for (const std::string& task : tasks) {
    const TaskDefinition* definition = Find(task);
    if (definition != nullptr) most = std::max(most, definition->answer_tokens);
  }
  return most;
}

RulerGenerator::RulerGenerator(RulerOptions options, CountTokens count_tokens)
    : options_(std::move(options)), count_tokens_(std::move(count_tokens)) {}

absl::StatusOr<std::unique_ptr<RulerGenerator>> RulerGenerator::Create(RulerOptions options,
                                                                       CountTokens count_tokens) {
  std::unique_ptr<RulerGenerator> generator(
      new RulerGenerator(std::move(options), std::move(count_tokens)));
  RETURN_IF_ERROR(generator->TakeInputs());
  return generator;
}

absl::Status RulerGenerator::TakeInputs() {
  if (options_.tasks.empty()) return absl::InvalidArgumentError("tasks: none is given");
  if (options_.context_tokens < 1 || options_.context_tokens > kUnlimited) {
    return absl::InvalidArgumentError(absl::StrCat("context_tokens=", options_.context_tokens,
                                                   ": it must be in [1, ", kUnlimited, "]"));
  }
  for (const QuestionSet& set : options_.question_sets) {
    std::vector<size_t> order(set.questions.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    SplitMix64(options_.seed).Shuffle(&order);
    questions_.push_back({set, std::move(order)});
  }
  for (const std::string& task : options_.tasks) {
    ASSIGN_OR_RETURN(const RulerInput input, RulerInputOf(task));
    if (input == RulerInput::kText && !essay_.has_value()) {
      auto essay = Essay::Create(options_.text);
      if (!essay.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("task ", task, " needs a text: ", essay.status().message()));
      }
      essay_ = *std::move(essay);
    }
    const bool asks = input == RulerInput::kSquad || input == RulerInput::kHotpotQa;
    if (asks && QuestionsFor(input) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("task ", task, " needs the questions of ",
                       input == RulerInput::kSquad ? "SQuAD" : "HotpotQA"));
    }
    if (Find(task)->family == Family::kVariableTracking && example_lines_ == 0) {
      const auto fit = LargestFitting(
          kMinVariableLines, kUnlimited, std::min(kExampleTokens, options_.context_tokens / 4),
          [this](int64_t size) {
            return count_tokens_(VariableTrackingExample(options_.seed, size).PromptText());
          });
      // One that is too long all the same has to do: whether the whole fits is seen later.
      example_lines_ = fit.ok() ? fit->size : kMinVariableLines;
    }
  }
  return absl::OkStatus();
}

const RulerGenerator::Questions* RulerGenerator::QuestionsFor(RulerInput input) const {
  for (const Questions& questions : questions_) {
    if (InputOfFormat(questions.set.format) == input) return &questions;
  }
  return nullptr;
}

absl::StatusOr<TaskPrompt> RulerGenerator::Generate(int64_t index) const {
  const std::string& task = options_.tasks[index % options_.tasks.size()];
  absl::StatusOr<TaskPrompt> prompt = Fitted(task, index);
  if (!prompt.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("task ", task,
                                                   " at context_tokens=", options_.context_tokens,
                                                   ": ", prompt.status().message()));
  }
  prompt->task = task;
  prompt->origin = absl::StrCat(task, ", prompt ", index, " of seed ", options_.seed);
  return prompt;
}

absl::StatusOr<TaskPrompt> RulerGenerator::Fitted(const std::string& task, int64_t index) const {
  const TaskDefinition& definition = *Find(task);
  const uint64_t seed = ItemSeed(options_.seed, index);
  const int64_t tokens = options_.context_tokens;
  Sizing sizing;
  switch (definition.family) {
    case Family::kNeedle:
      sizing.minimum = definition.needle.keys * definition.needle.values_per_key;
      sizing.maximum = MaxNeedleSize(definition.needle);
      sizing.render = [&](int64_t size) {
        return NeedlePrompt(definition.needle, essay_.has_value() ? &*essay_ : nullptr, seed, size);
      };
      break;
    case Family::kVariableTracking:
      sizing.minimum = kMinVariableLines;
      sizing.render = [&](int64_t size) {
        return VariableTrackingPrompt(example_lines_, seed, size);
      };
      break;
    case Family::kCommonWords:
      sizing.minimum = kCommonWords + 1;
      sizing.maximum = MaxCommonWordsSize();
      sizing.render = [&](int64_t size) {
        return CommonWordsPrompt(CommonWordsTaskFor(tokens + definition.answer_tokens), seed, size);
      };
      break;
    case Family::kFrequentWords:
      sizing.minimum = kMinFrequentWordsSize;
      sizing.render = [&](int64_t size) {
        const int64_t vocabulary = std::max(kMinCodedWords, tokens / kTokensPerCodedWord);
        return FrequentWordsPrompt(vocabulary, seed, size);
      };
      break;
    case Family::kQuestions: {
      const Questions& questions = *QuestionsFor(definition.input);
      const size_t turn = static_cast<size_t>(index) / options_.tasks.size();
      const size_t question = questions.order[turn % questions.order.size()];
      sizing.minimum = static_cast<int64_t>(questions.set.questions[question].documents.size());
      sizing.render = [&questions, question, seed](int64_t size) {
        return DocumentQuestionPrompt(questions.set, question, seed, size);
      };
      break;
    }
  }
  ASSIGN_OR_RETURN(const Fit fit,
                   LargestFitting(sizing.minimum, sizing.maximum, tokens, [&](int64_t size) {
                     return count_tokens_(sizing.render(size).PromptText());
                   }));
  if (fit.size == sizing.maximum && fit.tokens < tokens / 100 * 95) {
    return absl::OutOfRangeError(
        absl::StrCat("there are different words for ", fit.tokens, " tokens only"));
  }
  return sizing.render(fit.size);
}

}  // namespace kvp
