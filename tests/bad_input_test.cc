// What the tools say of bad input: one line on stderr that names the file, the field and the value,
// and an exit status of 1 or 2.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/run_command.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::HasSubstr;

namespace fs = std::filesystem;

class BadInputTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "/",
                           testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    ASSERT_OK(MakeDirectories(folder_));
  }

  // A writable copy of the embedded model.
  std::string CopyModel() {
    const std::string model = folder_ + "/model";
    EXPECT_OK(MakeDirectories(model));
    for (const char* file :
         {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}) {
      fs::copy_file(fs::canonical(RunfilePath("llm/embedded/model") + "/" + file),
                    model + "/" + file);
      fs::permissions(model + "/" + file, fs::perms::owner_write, fs::perm_options::add);
    }
    return model;
  }

  // Runs `kvp arguments` and expects it to end with `exit_status`, nothing on stdout and, as the
  // last line of stderr (log lines may stand before it), an error that has every one of `parts`.
  void ExpectRefused(const std::vector<std::string>& arguments, int exit_status,
                     const std::vector<std::string>& parts) {
    std::vector<std::string> argv = {RunfilePath("launcher/kvp")};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    ASSERT_OK_AND_ASSIGN(const CommandResult result, RunCommand(argv));
    EXPECT_EQ(result.exit_status, exit_status) << result.errors;
    EXPECT_EQ(result.output, "");
    const std::vector<std::string> lines =
        absl::StrSplit(absl::StripTrailingAsciiWhitespace(result.errors), '\n');
    for (const std::string& part : parts) EXPECT_THAT(lines.back(), HasSubstr(part));
    // "2026-01-31T…" begins a log line.
    for (size_t i = 0; i + 1 < lines.size(); ++i) {
      EXPECT_THAT(lines[i], testing::MatchesRegex("[0-9-]+T[0-9:.]+Z [IW] .*"));
    }
  }

  std::string folder_;
};

TEST_F(BadInputTest, AMissingSafetensorsFileIsNamed) {
  const std::string model = CopyModel();
  fs::remove(model + "/model.safetensors");
  ExpectRefused({"generate", "--model", model, "--prompt", "It is"}, 1,
                {model + "/model.safetensors"});
}

TEST_F(BadInputTest, PickledWeightsAreNamedWithTheWayToConvertThem) {
  const std::string model = CopyModel();
  fs::rename(model + "/model.safetensors", model + "/pytorch_model.bin");
  ExpectRefused({"generate", "--model", model, "--prompt", "It is"}, 1,
                {model + "/model.safetensors", model + "/pytorch_model.bin", "save_pretrained"});
}

TEST_F(BadInputTest, ATokenizerOfALargerModelIsRefused) {
  const std::string model = CopyModel();
  std::string tokenizer = *ReadFile(model + "/tokenizer.json");
  const std::string list = "\"added_tokens\": [";
  ASSERT_TRUE(absl::StrContains(tokenizer, list));
  tokenizer = absl::StrReplaceAll(
      tokenizer, {{list, list + "{\"id\": 5000, \"content\": \"<new>\", \"special\": true},"}});
  ASSERT_OK(WriteFileAtomically(model + "/tokenizer.json", {tokenizer}));
  ExpectRefused({"generate", "--model", model, "--prompt", "It is"}, 1,
                {model + "/tokenizer.json", "5000", "<new>", "vocab_size"});
}

TEST_F(BadInputTest, MalformedJsonOfAModelIsNamedWithItsByte) {
  const std::string model = CopyModel();
  for (const char* file : {"config.json", "tokenizer.json"}) {
    const std::string text = *ReadFile(model + "/" + file);
    ASSERT_OK(WriteFileAtomically(model + "/" + file, {"{\"a\": ]"}));
    ExpectRefused({"generate", "--model", model, "--prompt", "It is"}, 1,
                  {model + "/" + file, "JSON at byte 7"});
    ASSERT_OK(WriteFileAtomically(model + "/" + file, {text}));
  }
}

TEST_F(BadInputTest, FlagsThatNoModelOrMachineTakesAreUsageErrors) {
  const std::vector<std::string> collect = {"collect", "--model",  "m",          "--prompts",
                                            "p.jsonl", "--shards", "127.0.0.1:1"};
  for (const auto& [flag, part] : std::vector<std::pair<std::string, std::string>>{
           {"--dtype=int4", "--dtype"},
           {"--device=gpu", "--device"},
           {"--devices=cpu,tpu", "--devices"},
           {"--max-model-len=-1", "--max-model-len"},
           {"--shards=localhost", "--shards"},
           {"--top-p=2", "--top-p"},
           {"--generate=text", "--prompts and --generate are both"},
           {"--context-tokens=9", "--context-tokens doesn't apply to --prompts"}}) {
    std::vector<std::string> arguments = collect;
    arguments.push_back(flag);
    ExpectRefused(arguments, 2, {part});
  }
  ExpectRefused({"serve", "--dir", folder_, "--queue-mib", "0"}, 2, {"--queue-mib", "\"0\""});
  ExpectRefused({"evaluate", "--model", "m", "--shards", "127.0.0.1:1", "--needles", "5"}, 2,
                {"--needles doesn't apply without --text"});
}

TEST_F(BadInputTest, AnOutputThatCannotBeWrittenIsKnownBeforeAnyWork) {
  ExpectRefused({"collect", "--model", "/no/model", "--prompts", "p.jsonl", "--shards",
                 "127.0.0.1:1", "--json", "/nowhere/x.json"},
                1, {"/nowhere/x.json"});
  ExpectRefused({"evaluate", "--model", "/no/model", "--text", "t.txt", "--report", "/nowhere/x"},
                1, {"/nowhere/x"});
}

TEST_F(BadInputTest, WhatIsNeitherShardNorAgentsIsToldSo) {
  const std::string file = folder_ + "/notes.txt";
  ASSERT_OK(WriteFileAtomically(file, {"Neither a shard nor agents.\n"}));
  ExpectRefused({"inspect", file}, 1, {file, "no shard", "no agent file"});
  ExpectRefused({"inspect", file, "--verify"}, 2, {"--verify doesn't apply to a file"});
  ExpectRefused({"inspect", folder_}, 1, {folder_ + ": no shard here"});
}

TEST_F(BadInputTest, APromptThatIsTooLongIsNamedBeforeTheModelIsLoaded) {
  const std::string model = CopyModel();
  fs::remove(model + "/model.safetensors");
  const std::string prompts = folder_ + "/prompts.jsonl";
  std::string longer = "It is";
  for (int i = 0; i < 40; ++i) longer += " so";
  ASSERT_OK(
      WriteFileAtomically(prompts, {"{\"prompt\": \"It is\"}\n{\"prompt\": \"", longer, "\"}\n"}));
  ExpectRefused({"collect", "--model", model, "--prompts", prompts, "--shards", "127.0.0.1:1",
                 "--max-model-len", "20"},
                1, {prompts + ":2: ", "prompt and 0 answer tokens", "--max-model-len=20"});
}

TEST_F(BadInputTest, ATruncatedSafetensorsFileIsNamed) {
  const std::string model = CopyModel();
  fs::resize_file(model + "/model.safetensors", fs::file_size(model + "/model.safetensors") / 2);
  ExpectRefused({"generate", "--model", model, "--prompt", "It is"}, 1,
                {model + "/model.safetensors", "truncated"});
}

TEST_F(BadInputTest, AnUnknownArchitectureIsNamed) {
  const std::string model = CopyModel();
  std::string config = *ReadFile(model + "/config.json");
  config = absl::StrReplaceAll(config, {{"LlamaForCausalLM", "MambaForCausalLM"}});
  ASSERT_OK(WriteFileAtomically(model + "/config.json", {config}));
  ExpectRefused({"generate", "--model", model, "--prompt", "It is"}, 1,
                {model + "/config.json", "architectures", "MambaForCausalLM"});
}

TEST_F(BadInputTest, AMalformedPromptsLineIsNamedByFileAndNumber) {
  const std::string prompts = folder_ + "/prompts.jsonl";
  ASSERT_OK(WriteFileAtomically(prompts, {"{\"prompt\": \"It is\"}\n{\"prompt\": 7}\n"}));
  ExpectRefused(
      {"collect", "--model", CopyModel(), "--prompts", prompts, "--shards", "127.0.0.1:1"}, 1,
      {prompts + ":2: ", "prompt", "7"});
}

TEST_F(BadInputTest, DeeplyNestedJsonIsRefused) {
  const std::string model = CopyModel();
  const std::string nested = std::string(200000, '[') + std::string(200000, ']');
  const std::string prompts = folder_ + "/prompts.jsonl";
  for (const char* field : {"unknown", "messages"}) {
    ASSERT_OK(WriteFileAtomically(prompts, {"{\"", field, "\": ", nested, "}\n"}));
    ExpectRefused({"collect", "--model", model, "--prompts", prompts, "--shards", "127.0.0.1:1"}, 1,
                  {prompts + ":1: ", "nested too deeply"});
  }
  const std::string questions = folder_ + "/questions.json";
  ASSERT_OK(WriteFileAtomically(questions, {nested}));
  const std::string text = folder_ + "/novel.txt";
  ASSERT_OK(WriteFileAtomically(text, {"It was a fine day. Nobody said so.\n"}));
  ExpectRefused({"collect", "--model", model, "--generate", "ruler", "--qa", questions, "--text",
                 text, "--count", "1", "--shards", "127.0.0.1:1"},
                1, {questions + ": ", "nested too deeply"});
}

TEST_F(BadInputTest, NumbersThatCollectCannotMeanAreUsageErrors) {
  const std::vector<std::string> collect = {"collect",   "--model",  CopyModel(),  "--generate",
                                            "retrieval", "--text",   "novel.txt",  "--count",
                                            "1",         "--shards", "127.0.0.1:1"};
  for (const char* flag :
       {"needles=0", "questions=0", "questions=29", "context-tokens=-1", "context-tokens=4096"}) {
    const std::vector<std::string> parts = absl::StrSplit(flag, '=');
    std::vector<std::string> arguments = collect;
    arguments.push_back(absl::StrCat("--", flag));
    ExpectRefused(arguments, 2, {"--" + parts[0], "\"" + parts[1] + "\""});
  }
}

TEST_F(BadInputTest, AMalformedDatasetLineIsNamedByFileNumberAndField) {
  const std::string data = folder_ + "/boolq.jsonl";
  ASSERT_OK(WriteFileAtomically(
      data, {"{\"question\": \"q\", \"passage\": \"p\", \"answer\": \"maybe\"}\n"}));
  ExpectRefused({"collect", "--model", CopyModel(), "--generate", "boolq", "--data", data,
                 "--shards", "127.0.0.1:1"},
                1, {data + ":1: ", "answer", "maybe"});
}

TEST_F(BadInputTest, AShardThatCannotBeReachedIsNamed) {
  const std::string prompts = folder_ + "/prompts.jsonl";
  ASSERT_OK(WriteFileAtomically(prompts, {"{\"prompt\": \"It is\", \"answer\": \" so\"}\n"}));
  ExpectRefused({"collect", "--model", CopyModel(), "--prompts", prompts, "--shards", "127.0.0.1:1",
                 "--connect-deadline=1s"},
                1, {"127.0.0.1:1"});
}

TEST_F(BadInputTest, AnUnknownFieldOfAJobFileIsNamedWithItsLine) {
  const std::string job = folder_ + "/job.textproto";
  ASSERT_OK(WriteFileAtomically(job, {"name: \"x\"\nshrads { count: 2 }\n"}));
  ExpectRefused({"launch", job}, 2, {job + ":2:", "shrads"});
}

TEST_F(BadInputTest, AnUnknownVerbIsAUsageError) {
  ASSERT_OK_AND_ASSIGN(const CommandResult result,
                       RunCommand({RunfilePath("launcher/kvp"), "colect"}));
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.errors, HasSubstr("colect"));
}

}  // namespace
}  // namespace kvp
