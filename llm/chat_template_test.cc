// Templates in the manner of each family, and the prompts that its model card shows.

#include "llm/chat_template.h"

#include <cstdio>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kQwen25[] = R"({%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
{%- else %}
    {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) or message.role == 'assistant' %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
)";

constexpr char kLlama31[] = R"({{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now('%d %b %Y') %}
    {%- else %}
        {%- set date_string = '26 Jul 2024' %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}
{{- 'Cutting Knowledge Date: December 2023\n' }}
{{- 'Today Date: ' + date_string + '\n\n' }}
{{- system_message }}
{{- '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
)";

constexpr char kPhi4[] =
    R"({% for message in messages %}{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %})";

constexpr char kPhi3[] =
    R"({% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %})";

constexpr char kMistral[] =
    R"({{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}{% endfor %})";

constexpr char kLlama2[] =
    R"({% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for message in rest %}{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %})";

class ChatTemplateTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/chat";
    ASSERT_OK(MakeDirectories(directory_));
    std::remove((directory_ + "/chat_template.jinja").c_str());
    std::remove((directory_ + "/tokenizer_config.json").c_str());
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_OK(WriteFileAtomically(directory_ + "/" + name, {text}));
  }

  absl::StatusOr<std::unique_ptr<ChatTemplate>> LoadConfig(const Json& config) {
    Write("tokenizer_config.json", config.dump());
    return ChatTemplate::Load(directory_);
  }

  absl::StatusOr<std::string> Render(const std::string& source,
                                     const std::vector<ChatMessage>& messages,
                                     bool add_generation_prompt = true) {
    const auto chat = LoadConfig({{"chat_template", source},
                                  {"bos_token", "<s>"},
                                  {"eos_token", {{"content", "</s>"}, {"lstrip", false}}}});
    if (!chat.ok()) return chat.status();
    return (*chat)->Render(messages, add_generation_prompt);
  }

  std::string directory_;
};

const std::vector<ChatMessage> kQuestion = {{"user", "Hi there"}};
const std::vector<ChatMessage> kConversation = {
    {"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello!"}, {"user", "Bye"}};

void ExpectText(const absl::StatusOr<std::string>& text, const std::string& expected) {
  ASSERT_OK(text);
  EXPECT_EQ(*text, expected);
}

TEST_F(ChatTemplateTest, Qwen) {
  ExpectText(Render(kQwen25, kQuestion),
             "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
             "assistant.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n");
  ExpectText(Render(kQwen25, kConversation),
             "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
             "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
             "<|im_start|>assistant\n");
}

TEST_F(ChatTemplateTest, Llama3) {
  ExpectText(Render(kLlama31, {{"system", "Be brief."}, {"user", " Hi \n"}}),
             "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
             "2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user"
             "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST_F(ChatTemplateTest, Phi) {
  ExpectText(Render(kPhi4, kConversation),
             "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi"
             "<|im_end|><|im_start|>assistant<|im_sep|>Hello!<|im_end|><|im_start|>user<|im_sep|>"
             "Bye<|im_end|><|im_start|>assistant<|im_sep|>");
  ExpectText(Render(kPhi3, kConversation),
             "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n"
             "<|user|>\nBye<|end|>\n<|assistant|>\n");
}

TEST_F(ChatTemplateTest, MistralAndLlama2) {
  const std::vector<ChatMessage> turns = {{"user", "Hi"}, {"assistant", "Hello!"}, {"user", "Bye"}};
  ExpectText(Render(kMistral, turns), "<s>[INST] Hi [/INST]Hello!</s>[INST] Bye [/INST]");
  EXPECT_THAT(Render(kMistral, kConversation),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("tokenizer_config.json"), HasSubstr("roles must alternate"),
                             HasSubstr("plain prompts"))));
  ExpectText(Render(kLlama2, kConversation),
             "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] Bye "
             "[/INST]");
}

TEST_F(ChatTemplateTest, WithoutGenerationPromptItEndsBehindTheLastMessage) {
  ExpectText(Render(kPhi3, kQuestion, /*add_generation_prompt=*/false),
             "<|user|>\nHi there<|end|>\n</s>");
}

TEST_F(ChatTemplateTest, IsFoundWhereverItIs) {
  const Json named = {{{"name", "tool_use"}, {"template", "T"}},
                      {{"name", "default"}, {"template", "D"}}};
  ASSERT_OK_AND_ASSIGN(auto chat, LoadConfig({{"chat_template", named}}));
  ExpectText(chat->Render(kQuestion, true), "D");
  // A file of its own goes first; the special tokens are still the configuration's.
  Write("chat_template.jinja", "{{ bos_token }}J\n");
  ASSERT_OK_AND_ASSIGN(chat, LoadConfig({{"chat_template", "C"}, {"bos_token", "<b>"}}));
  ExpectText(chat->Render(kQuestion, true), "<b>J");
  std::remove((directory_ + "/tokenizer_config.json").c_str());
  ASSERT_OK_AND_ASSIGN(chat, ChatTemplate::Load(directory_));
  ExpectText(chat->Render(kQuestion, true), "J");
}

TEST_F(ChatTemplateTest, WhatCannotBeRenderedSaysHowToDoWithout) {
  EXPECT_THAT(ChatTemplate::Load("/nowhere"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("/nowhere"), HasSubstr("{\"prompt\": \"…\"}"))));
  EXPECT_THAT(LoadConfig(Json::object()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("plain prompts")));
  EXPECT_THAT(LoadConfig({{"chat_template", 3}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("chat_template is 3")));
  EXPECT_THAT(LoadConfig({{"chat_template", "{% include 'x' %}"}}),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr("include"), HasSubstr("plain prompts"))));
  EXPECT_THAT(Render("{{ messages | nonsense }}", kQuestion),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr("nonsense"), HasSubstr("plain prompts"))));
  Write("tokenizer_config.json", "oops");
  EXPECT_THAT(ChatTemplate::Load(directory_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokenizer_config.json")));
}

}  // namespace
}  // namespace kvp
