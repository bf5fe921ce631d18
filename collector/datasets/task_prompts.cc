#include "collector/datasets/task_prompts.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "llm/tasks/arc.h"
#include "llm/tasks/boolq.h"
#include "llm/tasks/longbench.h"
#include "llm/tasks/task_prompt.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Reader = absl::StatusOr<std::vector<TaskPrompt>> (*)(const std::string& path);

struct Benchmark {
  const char* name;
  Reader read;
};

constexpr Benchmark kBenchmarks[] = {
    {"boolq", ReadBoolQ},
    {"arc_challenge", ReadArcChallenge},
    {"passage_retrieval", ReadPassageRetrieval},
    {"gov_report", ReadGovReport},
};

TokenizedPrompt Tokenized(const TaskPrompt& prompt, const Tokenizer& tokenizer) {
  TokenizedPrompt tokenized;
  tokenized.prompt = tokenizer.EncodeSequence(prompt.PromptText());
  tokenized.continuation = tokenizer.EncodeContinuation(prompt.answer);
  tokenized.origin = prompt.origin;
  tokenized.task = prompt.task;
  return tokenized;
}

class RulerSource : public PromptSource {
 public:
  RulerSource(std::unique_ptr<RulerGenerator> generator, int64_t count, const Tokenizer* tokenizer)
      : generator_(std::move(generator)), count_(count), tokenizer_(*tokenizer) {}

  int64_t size() const override { return count_; }
  const std::string& task() const override { return task_; }

  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override {
    ASSIGN_OR_RETURN(const TaskPrompt prompt, generator_->Generate(index));
    return Tokenized(prompt, tokenizer_);
  }

 private:
  const std::string task_ = "ruler";
  const std::unique_ptr<RulerGenerator> generator_;
  const int64_t count_;
  const Tokenizer& tokenizer_;
};

class TaskFileSource : public PromptSource {
 public:
  TaskFileSource(std::string task, std::vector<TaskPrompt> prompts, TaskFileOptions options,
                 const Tokenizer* tokenizer)
      : task_(std::move(task)),
        prompts_(std::move(prompts)),
        options_(options),
        tokenizer_(*tokenizer) {}

  int64_t size() const override { return static_cast<int64_t>(prompts_.size()); }
  const std::string& task() const override { return task_; }

  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override {
    TokenizedPrompt tokenized = Tokenized(prompts_[index], tokenizer_);
    int64_t limit = options_.context_tokens;
    if (limit == 0) {
      limit = options_.max_positions - static_cast<int64_t>(tokenized.continuation.size());
    }
    if (limit < 2) {
      return absl::InvalidArgumentError(
          absl::StrCat(tokenized.origin, ": an answer of ", tokenized.continuation.size(),
                       " tokens leaves no room for a prompt in ", options_.max_positions));
    }
    std::vector<int32_t>& tokens = tokenized.prompt;
    if (static_cast<int64_t>(tokens.size()) > limit) {
      const int64_t last = limit / 2;
      tokens.erase(tokens.begin() + (limit - last), tokens.end() - last);
    }
    return tokenized;
  }

 private:
  const std::string task_;
  const std::vector<TaskPrompt> prompts_;
  const TaskFileOptions options_;
  const Tokenizer& tokenizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PromptSource>> RulerPrompts(RulerOptions options, int64_t count,
                                                           const Tokenizer* tokenizer) {
  if (count < 1) {
    return absl::InvalidArgumentError(absl::StrCat("count=", count, ": it must be at least 1"));
  }
  const int64_t tasks = static_cast<int64_t>(options.tasks.size());
  ASSIGN_OR_RETURN(std::unique_ptr<RulerGenerator> generator,
                   RulerGenerator::Create(std::move(options), [tokenizer](absl::string_view text) {
                     return tokenizer->EncodeSequence(text).size();
                   }));
  // A context that is too short for a task is so for every prompt: say it before any work is done.
  for (int64_t i = 0; i < std::min(tasks, count); ++i) {
    RETURN_IF_ERROR(generator->Generate(i).status());
  }
  return std::make_unique<RulerSource>(std::move(generator), count, tokenizer);
}

const std::vector<std::string>& TaskFileBenchmarks() {
  static const auto& names = *[] {
    auto* all = new std::vector<std::string>();
    for (const Benchmark& benchmark : kBenchmarks) all->push_back(benchmark.name);
    return all;
  }();
  return names;
}

absl::StatusOr<std::unique_ptr<PromptSource>> TaskFilePrompts(absl::string_view benchmark,
                                                              const std::string& path,
                                                              const TaskFileOptions& options,
                                                              const Tokenizer* tokenizer) {
  const auto found =
      std::find_if(std::begin(kBenchmarks), std::end(kBenchmarks),
                   [benchmark](const Benchmark& known) { return known.name == benchmark; });
  if (found == std::end(kBenchmarks)) {
    return absl::InvalidArgumentError(absl::StrCat("benchmark \"", benchmark, "\" is none of ",
                                                   absl::StrJoin(TaskFileBenchmarks(), ", ")));
  }
  ASSIGN_OR_RETURN(std::vector<TaskPrompt> prompts, found->read(path));
  if (options.count > 0) {
    if (static_cast<int64_t>(prompts.size()) < options.count) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": ", prompts.size(), " prompts, count=", options.count, " are asked for"));
    }
    prompts.resize(options.count);
  }
  return std::make_unique<TaskFileSource>(std::string(benchmark), std::move(prompts), options,
                                          tokenizer);
}

}  // namespace kvp
