#include "collector/prompt_flags.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "collector/datasets/dialogue.h"
#include "collector/datasets/oasst2.h"
#include "collector/datasets/task_prompts.h"
#include "llm/chat_template.h"
#include "llm/tasks/question_set.h"
#include "llm/tasks/ruler.h"
#include "util/command_line.h"
#include "util/file.h"
#include "util/logging.h"
#include "util/status_macros.h"

ABSL_FLAG(
    std::string, prompts, "",
    "JSONL file of prompts, a line each: {\"prompt\": \"…\", \"answer\": \"…\"}, or a "
    "conversation for the model's chat template, {\"messages\": [{\"role\": \"user\", "
    "\"content\": \"…\"}, …], \"answer\": \"…\"}. The answer, or the assistant's last message, "
    "is the continuation; without one the model generates it.");
ABSL_FLAG(
    std::string, generate, "",
    "Make the prompts instead: \"retrieval\" (a context from --text with needles; the continuation "
    "is questions with answers), \"text\" (windows of --text), \"ruler\" (--tasks of RULER), or "
    "from --data: \"oasst2\" (threads of conversations), \"boolq\", \"arc_challenge\", "
    "\"passage_retrieval\", \"gov_report\".");
ABSL_FLAG(std::vector<std::string>, tasks, {},
          "With --generate ruler: tasks, taken in turn: niah_single_1 to 3, niah_multikey_1 to 3, "
          "niah_multivalue, niah_multiquery, vt, cwe, fwe, qa_1, qa_2. Empty: all 13.");
ABSL_FLAG(std::string, text, "",
          "With --generate retrieval or text: a text file, one paragraph a line. With ruler: the "
          "text that most niah tasks hide their needles in.");
ABSL_FLAG(std::vector<std::string>, qa, {},
          "With --generate ruler: the JSON files of SQuAD, for qa_1, and HotpotQA (distractor "
          "setting), for qa_2, in any order.");
ABSL_FLAG(std::string, data, "",
          "With --generate oasst2, boolq, arc_challenge, passage_retrieval or gov_report: the "
          "dataset's file as it is published, JSON lines, plain or compressed with gzip.");
ABSL_FLAG(int64_t, count, 0,
          "With --generate: how many prompts. 0, with --data only: all that the file makes.");
ABSL_FLAG(uint64_t, seed, 0, "Seed of --generate, and of sampling.");
ABSL_FLAG(int64_t, context_tokens, 0,
          "With --generate: tokens of a prompt, at most. 0: 15/16 of the model's context for "
          "retrieval, 3/4 for text and oasst2, all but the answer's for ruler (of 4096, where the "
          "context is longer); for the others, whose longer prompts lose their middle, the model's "
          "context but for the answer.");
ABSL_FLAG(int64_t, continuation_tokens, 0,
          "With --generate text or oasst2: tokens after the prompt. 0: what is left of the model's "
          "context (of 4096, where it is longer).");
ABSL_FLAG(int64_t, needles, 28, "With --generate retrieval: needles in a context.");
ABSL_FLAG(int64_t, questions, 8,
          "With --generate retrieval: questions after it, at most as many as needles.");

namespace kvp {
namespace {

bool IsTaskFile(const std::string& generate) {
  const std::vector<std::string>& names = TaskFileBenchmarks();
  return std::find(names.begin(), names.end(), generate) != names.end();
}

bool NeedsData(const std::string& generate) { return generate == "oasst2" || IsTaskFile(generate); }

std::string OutOfRange(absl::string_view flag, int64_t value, absl::string_view expectation) {
  return absl::StrCat("flag --", flag, ": value \"", value, "\": it must be ", expectation);
}

// A number that becomes a count of tokens or the like: in [minimum, 2^31).
std::string RangeProblem(absl::string_view flag, int64_t value, int64_t minimum) {
  constexpr int64_t kMaximum = std::numeric_limits<int32_t>::max();
  if (value >= minimum && value <= kMaximum) return "";
  return OutOfRange(flag, value, absl::StrCat("in [", minimum, ", ", kMaximum, "]"));
}

// The tasks of --generate ruler.
std::vector<std::string> RulerTasksFromFlag() {
  const std::vector<std::string> tasks = absl::GetFlag(FLAGS_tasks);
  return tasks.empty() ? RulerTasks() : tasks;
}

std::string RulerProblem() {
  for (const std::string& task : RulerTasksFromFlag()) {
    const absl::StatusOr<RulerInput> input = RulerInputOf(task);
    if (!input.ok()) return absl::StrCat("flag --tasks: ", input.status().message());
    if (*input == RulerInput::kText && absl::GetFlag(FLAGS_text).empty()) {
      return absl::StrCat("flag --text is missing: task ", task, " needs it");
    }
    if ((*input == RulerInput::kSquad || *input == RulerInput::kHotpotQa) &&
        absl::GetFlag(FLAGS_qa).empty()) {
      return absl::StrCat("flag --qa is missing: task ", task, " needs it");
    }
  }
  return "";
}

// A flag that the kind of prompts has no use for, or "".
std::string MisplacedPromptFlag(const std::string& generate) {
  static const auto& applying = *new std::map<std::string, std::set<std::string>>({
      {"", {}},
      {"retrieval", {"text", "count", "context_tokens", "needles", "questions"}},
      {"text", {"text", "count", "context_tokens", "continuation_tokens"}},
      {"ruler", {"tasks", "text", "qa", "count", "context_tokens"}},
      {"oasst2", {"data", "count", "context_tokens", "continuation_tokens"}},
  });
  static const auto& of_task_file = *new std::set<std::string>({"data", "count", "context_tokens"});
  const auto found = applying.find(generate);
  const std::set<std::string>& used = found == applying.end() ? of_task_file : found->second;
  std::vector<std::string> unused;
  for (const char* name : {"tasks", "text", "qa", "data", "count", "context_tokens",
                           "continuation_tokens", "needles", "questions"}) {
    if (used.count(name) == 0) unused.push_back(name);
  }
  return MisplacedFlag(
      unused, generate.empty() ? "to --prompts" : absl::StrCat("to --generate ", generate));
}

std::string GenerateProblem(const std::string& generate) {
  const bool from_text = generate == "retrieval" || generate == "text";
  if (!from_text && generate != "ruler" && !NeedsData(generate)) {
    return absl::StrCat("flag --generate: value \"", generate,
                        "\": it must be retrieval, text, ruler, oasst2, ",
                        absl::StrJoin(TaskFileBenchmarks(), ", "));
  }
  if (from_text && absl::GetFlag(FLAGS_text).empty()) {
    return "flag --text is missing: --generate makes its prompts from it";
  }
  if (NeedsData(generate) && absl::GetFlag(FLAGS_data).empty()) {
    return absl::StrCat("flag --data is missing: --generate ", generate,
                        " reads its prompts from it");
  }
  if (generate == "ruler") return RulerProblem();
  return "";
}

// Of --continuation-tokens, behind a context of `context_tokens` below `max_positions`. Where the
// flag isn't set: what the context leaves of the window, or a quarter of it more.
absl::StatusOr<int64_t> ContinuationTokens(int64_t context_tokens, int64_t max_positions) {
  const int64_t left = max_positions - context_tokens;
  const int64_t window = std::min(max_positions, kDefaultWindow);
  const int64_t tokens = absl::GetFlag(FLAGS_continuation_tokens);
  if (tokens > left) {
    return absl::OutOfRangeError(
        OutOfRange("continuation-tokens", tokens,
                   absl::StrCat("at most what the context of ", context_tokens,
                                " tokens leaves of the model's, ", left)));
  }
  if (tokens > 0) return tokens;
  return context_tokens < window ? window - context_tokens
                                 : std::min(left, std::max<int64_t>(1, window / 4));
}

absl::StatusOr<std::unique_ptr<PromptSource>> PromptsFromText(const std::string& generate,
                                                              int64_t max_positions,
                                                              const Tokenizer* tokenizer) {
  const int64_t window = std::min(max_positions, kDefaultWindow);
  const std::string path = absl::GetFlag(FLAGS_text);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  GeneratedPromptOptions options;
  options.count = absl::GetFlag(FLAGS_count);
  options.seed = absl::GetFlag(FLAGS_seed);
  options.needles = absl::GetFlag(FLAGS_needles);
  options.questions = absl::GetFlag(FLAGS_questions);
  options.context_tokens = absl::GetFlag(FLAGS_context_tokens);
  if (generate == "retrieval") {
    if (options.context_tokens == 0) options.context_tokens = window / 16 * 15;
    return RetrievalPrompts(text, path, options, tokenizer);
  }
  if (options.context_tokens == 0) options.context_tokens = window / 4 * 3;
  ASSIGN_OR_RETURN(options.continuation_tokens,
                   ContinuationTokens(options.context_tokens, max_positions));
  return TextPrompts(text, path, options, tokenizer);
}

absl::StatusOr<std::unique_ptr<PromptSource>> RulerFromFlags(int64_t window,
                                                             const Tokenizer* tokenizer) {
  RulerOptions options;
  options.tasks = RulerTasksFromFlag();
  options.seed = absl::GetFlag(FLAGS_seed);
  options.context_tokens = absl::GetFlag(FLAGS_context_tokens);
  if (options.context_tokens == 0) {
    options.context_tokens = window - RulerAnswerTokens(options.tasks);
  }
  if (const std::string path = absl::GetFlag(FLAGS_text); !path.empty()) {
    ASSIGN_OR_RETURN(options.text, ReadFile(path));
  }
  for (const std::string& path : absl::GetFlag(FLAGS_qa)) {
    ASSIGN_OR_RETURN(QuestionSet set, ReadQuestionSet(path));
    options.question_sets.push_back(std::move(set));
  }
  return RulerPrompts(std::move(options), absl::GetFlag(FLAGS_count), tokenizer);
}

absl::StatusOr<EncodeDialogue> DialogueOf(const std::string& model_directory,
                                          const Tokenizer* tokenizer) {
  absl::StatusOr<std::unique_ptr<ChatTemplate>> chat = ChatTemplate::Load(model_directory);
  if (chat.ok()) return ChatDialogue(tokenizer, *std::move(chat));
  if (!absl::IsNotFound(chat.status())) return chat.status();
  LogInfo(absl::StrCat(model_directory,
                       " has no chat template: conversations are written as \"User: …\" and "
                       "\"Assistant: …\""));
  return PlainDialogue(tokenizer);
}

absl::StatusOr<std::unique_ptr<PromptSource>> ThreadsFromFlags(const std::string& model_directory,
                                                               int64_t max_positions,
                                                               const Tokenizer* tokenizer) {
  const int64_t window = std::min(max_positions, kDefaultWindow);
  ASSIGN_OR_RETURN(EncodeDialogue dialogue, DialogueOf(model_directory, tokenizer));
  ThreadOptions options;
  options.count = absl::GetFlag(FLAGS_count);
  options.seed = absl::GetFlag(FLAGS_seed);
  options.context_tokens = absl::GetFlag(FLAGS_context_tokens);
  if (options.context_tokens == 0) options.context_tokens = window / 4 * 3;
  ASSIGN_OR_RETURN(options.continuation_tokens,
                   ContinuationTokens(options.context_tokens, max_positions));
  return Oasst2Prompts(absl::GetFlag(FLAGS_data), options, std::move(dialogue));
}

}  // namespace

std::string PromptUsageProblem() {
  const std::string generate = absl::GetFlag(FLAGS_generate);
  if (!absl::GetFlag(FLAGS_prompts).empty() && !generate.empty()) {
    return "the flags --prompts and --generate are both there: only one can say what the prompts "
           "are";
  }
  if (absl::GetFlag(FLAGS_prompts).empty() && generate.empty()) {
    return "one of the flags --prompts and --generate is needed";
  }
  if (generate.empty()) return MisplacedPromptFlag(generate);
  if (std::string problem = GenerateProblem(generate); !problem.empty()) return problem;
  if (std::string problem = MisplacedPromptFlag(generate); !problem.empty()) return problem;
  if (absl::GetFlag(FLAGS_count) < 1 && !NeedsData(generate)) {
    return absl::StrCat("flag --count: value \"", absl::GetFlag(FLAGS_count), "\": --generate ",
                        generate, " needs at least 1");
  }
  const int64_t needles = absl::GetFlag(FLAGS_needles);
  const int64_t questions = absl::GetFlag(FLAGS_questions);
  for (std::string problem :
       {RangeProblem("count", absl::GetFlag(FLAGS_count), 0),
        RangeProblem("context-tokens", absl::GetFlag(FLAGS_context_tokens), 0),
        RangeProblem("continuation-tokens", absl::GetFlag(FLAGS_continuation_tokens), 0),
        RangeProblem("needles", needles, 1), RangeProblem("questions", questions, 1)}) {
    if (!problem.empty()) return problem;
  }
  if (generate == "retrieval" && questions > needles) {
    return OutOfRange("questions", questions, absl::StrCat("at most --needles, ", needles));
  }
  return "";
}

absl::StatusOr<std::unique_ptr<PromptSource>> PromptsFromFlags(const std::string& model_directory,
                                                               int64_t max_positions,
                                                               const Tokenizer* tokenizer) {
  const std::string generate = absl::GetFlag(FLAGS_generate);
  if (generate.empty()) {
    return FilePrompts(absl::GetFlag(FLAGS_prompts), *tokenizer, max_positions, model_directory);
  }
  const int64_t context_tokens = absl::GetFlag(FLAGS_context_tokens);
  if (context_tokens >= max_positions) {
    return absl::OutOfRangeError(
        OutOfRange("context-tokens", context_tokens,
                   absl::StrCat("less than the model's context, ", max_positions)));
  }
  const int64_t window = std::min(max_positions, kDefaultWindow);
  if (generate == "ruler") return RulerFromFlags(window, tokenizer);
  if (generate == "oasst2") return ThreadsFromFlags(model_directory, max_positions, tokenizer);
  if (IsTaskFile(generate)) {
    TaskFileOptions options;
    options.count = absl::GetFlag(FLAGS_count);
    options.context_tokens = absl::GetFlag(FLAGS_context_tokens);
    options.max_positions = max_positions;
    return TaskFilePrompts(generate, absl::GetFlag(FLAGS_data), options, tokenizer);
  }
  return PromptsFromText(generate, max_positions, tokenizer);
}

}  // namespace kvp
