// Token ids against published tokenizers, on their real vocabularies and on thousands of strings of
// all kinds: Hugging Face's `tokenizers` itself, and the packages that the vocabularies come in.
// They run in node (published.mjs), out of npm; where either is missing, these tests are skipped.
//
// What isn't UTF-8 the published tokenizers never see: their input is a JavaScript string, in which
// it has become U+FFFD (such strings are among the others). Here it's checked that any bytes come
// back.

#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "llm/chat_template.h"
#include "llm/streaming_decoder.h"
#include "llm/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/run_command.h"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

constexpr int kTexts = 10500;
constexpr int kSeed = 1;
// Exit statuses: the script's, where npm can't install; env's, where there is no node.
constexpr int kUnavailable = 77;
constexpr int kNotFound = 127;
constexpr char kReplacement[] = "\xEF\xBF\xBD";
constexpr int kMaxShown = 5;

std::string Directory() { return testing::TempDir() + "/published"; }

Json ReadJson(const std::string& name) {
  const auto text = ReadFile(absl::StrCat(Directory(), "/", name));
  EXPECT_OK(text);
  return text.ok() ? Json::parse(*text) : Json();
}

std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& name) {
  auto tokenizer = Tokenizer::Load(absl::StrCat(Directory(), "/", name, ".tokenizer.json"));
  EXPECT_OK(tokenizer) << name;
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

class PublishedTokenizersTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_OK(MakeDirectories(Directory()));
    ASSERT_OK_AND_ASSIGN(
        const CommandResult result,
        RunCommand({"/usr/bin/env", "node", RunfilePath("tests/tokenizers/published.mjs"),
                    Directory(), absl::StrCat(kTexts), absl::StrCat(kSeed)}));
    status_ = result.exit_status;
    message_ = result.errors;
  }

  void SetUp() override {
    if (status_ == kUnavailable || status_ == kNotFound) {
      GTEST_SKIP() << "no published tokenizers to compare with: node or npm isn't there, or npm "
                      "can't be reached: "
                   << message_;
    }
    ASSERT_EQ(status_, 0) << message_;
  }

  static int status_;
  static std::string message_;
};

int PublishedTokenizersTest::status_ = 0;
std::string PublishedTokenizersTest::message_;

TEST_F(PublishedTokenizersTest, IdsAreTheSame) {
  const Json texts = ReadJson("texts.json");
  ASSERT_GE(texts.size(), 10'000);
  const Json index = ReadJson("index.json");
  ASSERT_GE(index.size(), 50);
  for (const Json& entry : index) {
    const std::string name = entry[0];
    const Json cases = ReadJson(absl::StrCat(name, ".", std::string(entry[1]), ".json"));
    const auto tokenizer = LoadTokenizer(name);
    ASSERT_NE(tokenizer, nullptr);
    const Json& strings = cases["texts"].is_null() ? texts : cases["texts"];
    ASSERT_EQ(strings.size(), cases["ids"].size());
    int compared = 0;
    int differing = 0;
    for (size_t i = 0; i < strings.size(); ++i) {
      if (cases["ids"][i].is_null()) continue;
      ++compared;
      const std::string text = strings[i];
      const Ids ids = tokenizer->Encode(text);
      const Ids expected = cases["ids"][i];
      if (ids == expected || ++differing > kMaxShown) continue;
      ADD_FAILURE() << name << " against " << cases["reference"] << ": " << strings[i]
                    << "\n  is       " << Json(ids) << "\n  expected " << Json(expected);
    }
    EXPECT_EQ(differing, 0) << name << " against " << cases["reference"] << ": of " << compared;
    // Few strings may be left out, of any reference.
    EXPECT_GE(compared, strings.size() * 95 / 100) << name << " against " << cases["reference"];
  }
}

TEST_F(PublishedTokenizersTest, TextIsTheSameAtOnceAndAsAStream) {
  const Json index = ReadJson("index.json");
  int compared = 0;
  for (const Json& entry : index) {
    const std::string name = entry[0];
    const Json cases = ReadJson(absl::StrCat(name, ".", std::string(entry[1]), ".json"));
    const auto tokenizer = LoadTokenizer(name);
    ASSERT_NE(tokenizer, nullptr);
    for (size_t i = 0; i < cases["decoded"].size(); ++i) {
      const Ids ids = cases["ids"][i];
      const std::string expected = cases["decoded"][i];
      ASSERT_OK_AND_ASSIGN(const std::string decoded, tokenizer->Decode(ids));
      StreamingDecoder stream(tokenizer.get(), /*continues=*/false);
      std::string streamed;
      for (int32_t id : ids) {
        ASSERT_OK_AND_ASSIGN(const std::string more, stream.Push(id));
        streamed += more;
      }
      streamed += stream.Finish();
      ++compared;
      EXPECT_EQ(streamed, expected) << name << " " << Json(ids);
      // Until it is made printable, text isn't changed.
      if (!absl::StrContains(expected, kReplacement)) {
        EXPECT_EQ(decoded, expected) << name;
      }
      if (HasFailure()) return;
    }
  }
  EXPECT_GE(compared, 50'000);
}

TEST_F(PublishedTokenizersTest, ConversationsAreTheSame) {
  for (const std::string name : {"qwen3", "llama3_1"}) {
    const auto tokenizer = LoadTokenizer(name);
    ASSERT_NE(tokenizer, nullptr);
    ASSERT_OK_AND_ASSIGN(const auto chat, ChatTemplate::Load(absl::StrCat(Directory(), "/", name)));
    const Json chats = ReadJson(name + "/chats.json");
    ASSERT_GE(chats.size(), 4);
    for (const Json& conversation : chats) {
      std::vector<ChatMessage> messages;
      for (const Json& message : conversation["messages"]) {
        messages.push_back({message["role"], message["content"]});
      }
      ASSERT_OK_AND_ASSIGN(const std::string text,
                           chat->Render(messages, /*add_generation_prompt=*/true));
      EXPECT_EQ(text, conversation["text"]) << name;
      EXPECT_EQ(Json(tokenizer->Encode(text)), conversation["ids"]) << name;
    }
  }
}

TEST_F(PublishedTokenizersTest, AnyBytesComeBack) {
  std::mt19937 random(3);
  for (const char* name : {"gpt2", "llama3_1", "llama2", "llama2_js"}) {
    const auto tokenizer = LoadTokenizer(name);
    ASSERT_NE(tokenizer, nullptr);
    for (int round = 0; round < 3000; ++round) {
      std::string text;
      for (int i = random() % 60; i > 0; --i) {
        const char* parts[] = {"the", " ", "\xE4\xB8", "\xF0\x9F", "\xED\xA0\x80", "é", "\xC0\xAF"};
        if (random() % 2 == 0) {
          text += parts[random() % std::size(parts)];
        } else {
          text += static_cast<char>(random());
        }
      }
      ASSERT_OK_AND_ASSIGN(const std::string decoded, tokenizer->Decode(tokenizer->Encode(text)));
      // U+2581 stands for a space in SentencePiece's vocabularies, for its bytes too.
      ASSERT_EQ(decoded, text) << name;
    }
  }
}

}  // namespace
}  // namespace kvp
