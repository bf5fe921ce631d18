#include "tests/benchmarks/embedded_traces.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collector/capture.h"
#include "collector/prompt_source.h"
#include "collector/worker.h"
#include "llm/decoder.h"
#include "llm/tokenizer.h"
#include "tests/benchmarks/capture_overhead.h"
#include "util/file.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kUsualTokens = 960;
constexpr int64_t kUsualNeedles = 28;
constexpr int64_t kUsualQuestions = 8;
// For needles' words and the questions with their answers.
constexpr int64_t kRoomForQuestions = 64;

struct Split {
  std::string name;
  std::string text;  // a file of the build
  int64_t count = 0;
  int64_t tokens = 0;
  uint64_t seed = 0;
};

absl::Status CollectSplit(const Decoder& decoder, const ModelInfo& model,
                          const Tokenizer& tokenizer, const Split& split, BenchStore& store) {
  ASSIGN_OR_RETURN(const std::string path, BuiltFile(split.text));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  GeneratedPromptOptions options;
  options.count = split.count;
  options.seed = split.seed;
  options.context_tokens = split.tokens;
  options.needles =
      std::clamp<int64_t>(split.tokens * kUsualNeedles / kUsualTokens, 1, kUsualNeedles);
  options.questions = std::min(options.needles, kUsualQuestions);
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptSource> prompts,
                   RetrievalPrompts(text, path, options, &tokenizer));
  WorkerOptions worker;
  worker.split = split.name;
  worker.task = "bench";
  return Collect(decoder, model, *prompts, worker, store).status();
}

}  // namespace

absl::StatusOr<std::string> BuiltFile(const std::string& path) {
  std::error_code error;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).string();
  for (const std::string& candidate : {path, absl::StrCat(self, ".runfiles/kvp/", path)}) {
    if (std::filesystem::exists(candidate, error)) return candidate;
  }
  return absl::NotFoundError(absl::StrCat(path, ": neither here nor beside ", self));
}

absl::StatusOr<std::unique_ptr<BenchStore>> CollectEmbeddedTraces(const EmbeddedTraces& traces) {
  ASSIGN_OR_RETURN(const std::string directory, BuiltFile("llm/embedded/model"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::Load(directory + "/tokenizer.json"));
  Decoder::Options options;
  const int64_t longest = std::max(traces.train_tokens, traces.held_out_tokens) + kRoomForQuestions;
  ASSIGN_OR_RETURN(std::unique_ptr<Decoder> decoder, Decoder::Load(directory, options));
  if (longest > decoder->max_model_len()) {
    options.max_model_len = longest;
    ASSIGN_OR_RETURN(decoder, Decoder::Load(directory, options));
  }
  const ModelInfo model = ModelInfoOf(*decoder, directory);
  ASSIGN_OR_RETURN(std::unique_ptr<BenchStore> store, BenchStore::Start());
  RETURN_IF_ERROR(CollectSplit(
      *decoder, model, *tokenizer,
      {"train", "llm/embedded/text/train.txt", traces.train, traces.train_tokens, traces.seed},
      *store));
  RETURN_IF_ERROR(CollectSplit(*decoder, model, *tokenizer,
                               {"held_out", "llm/embedded/text/held_out.txt", traces.held_out,
                                traces.held_out_tokens, traces.seed + 1000},
                               *store));
  return store;
}

}  // namespace kvp
