// The tools as a shell sees them: exit status, stdout, files.

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "eval/evaluation.h"
#include "eval/results.h"
#include "gtest/gtest.h"
#include "llm/decoder.h"
#include "llm/sampling.h"
#include "llm/tiny_model.h"
#include "llm/tokenizer.h"
#include "llm/utf8_stream.h"
#include "util/file.h"
#include "util/safetensors.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

struct ToolRun {
  int status = -1;
  std::string out;
  std::string err;
};

// Runs a tool of this folder with arguments that the shell takes apart.
ToolRun RunTool(const std::string& tool, const std::string& arguments) {
  const std::string out = testing::TempDir() + "/out";
  const std::string err = testing::TempDir() + "/err";
  const int status =
      std::system(absl::StrCat("eval/", tool, " ", arguments, " > ", out, " 2> ", err).c_str());
  return {WEXITSTATUS(status), *ReadFile(out), *ReadFile(err)};
}

class ToolsTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/tiny_tools";
    // As many tokens as its tokenizer has, so that whatever is generated can be decoded.
    TinyModelOptions tiny;
    tiny.vocab_size = (*Tokenizer::Parse(TinyTokenizerJson(), "tokenizer.json"))->vocab_size();
    ASSERT_OK(WriteTinyModel(directory_, tiny));
  }
  std::string directory_;
};

constexpr char kPrompt[] = "Emma Woodhouse, handsome, clever, and rich, with a comfortable home";

TEST_F(ToolsTest, GenerateDecodesTokenForTokenAsTheLibraryDoes) {
  ASSERT_OK_AND_ASSIGN(const auto decoder, Decoder::Load(directory_, {}));
  ASSERT_OK_AND_ASSIGN(const auto tokenizer, Tokenizer::Load(directory_ + "/tokenizer.json"));
  KvCache cache = decoder->NewCache();
  ASSERT_OK_AND_ASSIGN(const at::Tensor logits,
                       decoder->Forward(tokenizer->Encode(kPrompt), cache, {}));
  ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> tokens,
                       Generate(*decoder, cache, logits[0], 24, {}));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, tokenizer->Decode(tokens));
  Utf8Stream stream;
  const std::string expected = stream.Push(bytes);

  const std::string logits_path = testing::TempDir() + "/logits.safetensors";
  const ToolRun run = RunTool(
      "generate", absl::StrCat("--model ", directory_, " --prompt '", kPrompt,
                               "' --max-new-tokens 24 --temperature 0", " --logits ", logits_path));
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_EQ(run.out, expected + stream.Finish());
  ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(logits_path));
  ASSERT_OK_AND_ASSIGN(const SafetensorsEntry* entry, file->Find("logits"));
  EXPECT_EQ(entry->dtype, "F32");
  EXPECT_EQ(entry->shape,
            (std::vector<int64_t>{static_cast<int64_t>(tokenizer->Encode(kPrompt).size()),
                                  decoder->config().vocab_size}));
}

TEST_F(ToolsTest, GenerateCompressesWithAPolicy) {
  const std::string base = absl::StrCat("--model ", directory_, " --prompt '", kPrompt,
                                        "' --max-new-tokens 24 --policy streaming_llm");
  const ToolRun small = RunTool("generate", base + " --budget 0.4");
  EXPECT_EQ(small.status, 0) << small.err;
  EXPECT_THAT(small.err, HasSubstr("cache bytes kept"));
  const ToolRun whole = RunTool("generate", base + " --budget 1");
  EXPECT_EQ(whole.status, 0) << whole.err;
  EXPECT_NE(small.out, whole.out);

  // In one file with the log, the continuation has its lines for itself.
  const std::string both = testing::TempDir() + "/both";
  const std::string command =
      absl::StrCat("eval/generate ", base, " --budget 0.4 > ", both, " 2>&1");
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_THAT(*ReadFile(both), EndsWith(absl::StrCat("cache bytes kept\n", small.out)));
}

TEST_F(ToolsTest, GenerateHoldsABudgetForEver) {
  const ToolRun run =
      RunTool("generate", absl::StrCat("--model ", directory_, " --prompt '", kPrompt,
                                       "' --max-new-tokens 200 --policy k_norm --budget-tokens 32 ",
                                       "--chunk-tokens 16"));
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr("budget 32 entries"));
  const ToolRun refused = RunTool(
      "generate",
      absl::StrCat("--model ", directory_, " --prompt x --policy key_diff ", "--budget-tokens 32"));
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("key_diff"));
}

TEST_F(ToolsTest, GenerateTellsUsageFromFailure) {
  const std::string model = "--model " + directory_;
  // A few only: each starts a process that loads libtorch.
  for (const auto& [arguments, text] : std::vector<std::pair<std::string, std::string>>{
           {model, "--prompt is missing"},
           {model + " --prompt ''", "--prompt is missing, or empty"},
           {model + " --prompt x --policy oracle", "oracle needs to know the future"},
           {model + " --prompt x --policy random --budget 0", "--budget: 0"},
           {model + " --prompt x --temperature -1", "--temperature is -1"}}) {
    const ToolRun run = RunTool("generate", arguments);
    EXPECT_EQ(run.status, 2) << arguments;
    EXPECT_THAT(run.err, HasSubstr(text)) << arguments;
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
    EXPECT_EQ(run.out, "");
  }
  const ToolRun missing = RunTool("generate", "--model /nowhere --prompt x");
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("/nowhere"));
  EXPECT_EQ(RunTool("generate", "--help").status, 0);
}

TEST_F(ToolsTest, EvaluateReadsTextWithoutShards) {
  const std::string text_path = testing::TempDir() + "/text.txt";
  std::string text;
  for (int i = 0; i < 40; ++i) absl::StrAppend(&text, kPrompt, " number ", i, ".\n");
  ASSERT_OK(WriteFileAtomically(text_path, {text}));
  const std::string json_path = testing::TempDir() + "/results.json";
  const std::string html_path = testing::TempDir() + "/report.html";
  const std::string svg_path = testing::TempDir() + "/report.svg";
  const ToolRun run = RunTool(
      "evaluate",
      absl::StrCat("--model ", directory_, "/ --text ", text_path,
                   " --prompts-count 0 --text-windows 3 --text-context-tokens 100 ",
                   "--text-next-tokens 12 --timed-sequences 1 --threads 2 --budgets 0.5,0.25",
                   " --json ", json_path, " --report ", html_path, " --picture ", svg_path));
  ASSERT_EQ(run.status, 0) << run.err;
  ASSERT_OK_AND_ASSIGN(const Results results, ReadResults(json_path));
  EXPECT_EQ(results.model, "tiny_tools");
  EXPECT_EQ(results.text_windows, 3);
  // Everything but kvp and q_filter, which have no files, and that is said.
  EXPECT_EQ(results.in_model.size(), 14);
  EXPECT_THAT(run.err, HasSubstr("kvp is left out"));
  EXPECT_THAT(run.err, HasSubstr("q_filter is left out"));
  EXPECT_DOUBLE_EQ(results.in_model[0].second.at(0.25).cache_share, 0.25);
  EXPECT_GT(results.full_cache.perplexity, 1);
  EXPECT_EQ(results.entries_only.count("leverage"), 1);
  EXPECT_EQ(results.entries_only.count("snap_kv") + results.entries_only.count("kv_zip"), 0);
  EXPECT_THAT(*ReadFile(testing::TempDir() + "/results.csv"),
              HasSubstr("\nin_model,key_diff,1,,0.25,perplexity,"));
  EXPECT_THAT(*ReadFile(html_path), HasSubstr("tiny_tools"));
  EXPECT_THAT(*ReadFile(svg_path), HasSubstr("<svg"));
  EXPECT_THAT(run.out, HasSubstr("perplexity"));
  EXPECT_THAT(run.out, HasSubstr("\n  key_diff *  "));
  EXPECT_THAT(run.out, HasSubstr("\n  snap_kv  "));
  EXPECT_THAT(run.out, HasSubstr("* reads keys, values and positions only"));
}

TEST_F(ToolsTest, EvaluateTellsUsageFromFailure) {
  const std::string base = absl::StrCat("--model ", directory_, " --text /nowhere.txt");
  const ToolRun usage = RunTool("evaluate", base + " --budgets half");
  EXPECT_EQ(usage.status, 2);
  EXPECT_THAT(usage.err, HasSubstr("half"));
  const ToolRun missing = RunTool("evaluate", base);
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("/nowhere.txt"));
}

TEST(EvaluationOptionsTest, NamesTheFlagAndItsValue) {
  EvaluationOptions good;
  good.model_directory = "m";
  good.text_path = "t";
  EXPECT_OK(good.Validate());
  const auto expect_invalid = [&good](const auto& change, const std::string& text) {
    EvaluationOptions options = good;
    change(options);
    EXPECT_THAT(options.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  expect_invalid([](EvaluationOptions& o) { o.model_directory.clear(); }, "--model is missing");
  expect_invalid([](EvaluationOptions& o) { o.text_path.clear(); }, "nothing to evaluate");
  expect_invalid([](EvaluationOptions& o) { o.policies = {"kvp"}; }, "kvp needs --agents");
  expect_invalid([](EvaluationOptions& o) { o.policies = {"ada:q_filter"}; }, "needs --q-filters");
  expect_invalid([](EvaluationOptions& o) { o.policies = {"random", "nothing"}; }, "\"nothing\"");
  expect_invalid([](EvaluationOptions& o) { o.policies = {"random", "random"}; }, "twice");
  expect_invalid([](EvaluationOptions& o) { o.budgets = {0.5, 2}; }, "2 isn't in (0, 1]");
  expect_invalid([](EvaluationOptions& o) { o.threads = 0; }, "--threads: 0");
  expect_invalid([](EvaluationOptions& o) { o.prompts = o.windows.count = 0; }, "both 0");
}

}  // namespace
}  // namespace kvp
