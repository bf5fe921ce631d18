#include "llm/jinja/template.h"

#include <cstdlib>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "util/file.h"
#include "util/status_matchers.h"

namespace kvp::jinja {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

absl::StatusOr<std::string> Render(const std::string& source, const Json& variables) {
  const auto parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->Render(variables);
}

// What chat templates do, one thing after another; every one is rendered with every conversation.
const char* const kTemplates[] = {
    // White space.
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}\n  b\n  {% endif %}\n  c\n\n",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\n  c",
    "a {{- ' b ' -}} c  {{ 'd' }}  \n{{ 'e' }}\n",
    "a\n  {%+ if true %}\nb{% endif +%}\nc",
    "  {# a comment #}\nx\n  {#- another -#}\n y {# third #} z",
    "{% if true %}\n\n  x{% endif %}\n\n{% for i in [1, 2] %}\n  {{ i }}\n{% endfor %}\n.",
    "x {% if true %} y {% endif %} z\n  {{ 'v' }}\n{%- set a = 1 %}\n\n{{ a }}",
    "{% if true %}  {% if true %}\n a{% endif %}{% endif %}",
    "\r\nx\r\n{% if true %}\r\ny{% endif %}\r\n",
    // Expressions.
    R"({{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 * 1.5 }} {{ 1.0 }})",
    R"({{ 'a' ~ 1 ~ none ~ true ~ 1.5 }} {{ 'a' * 3 }} {{ 'ab' 'cd' }} {{ "it's" }} {{ 'a\n\t\\\'\"\u00e9' }})",
    R"({{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ 1 in [1, 2] }} {{ 3 not in [1] }} {{ 'b' in 'abc' }} {{ not 1 }})",
    R"({{ 'k' in {'k': 1} }} {{ none == none }} {{ [1, [2]] == [1, [2]] }} {{ true and 'x' }} {{ 0 or '' }})",
    R"({{ 'a' if false else 'b' }} {{ 'a' if false }} {{ 1 if true else 2 if false else 3 }})",
    R"({{ [1, 'a', none, true, 1.5, ['x'], {'k': "it's"}] }} {{ (1, 2)[0] }} {{ {'a': {'b': 2}}.a.b }})",
    R"({{ 'héllo'[1] }} {{ 'hello'[1:3] }} {{ 'hello'[::-1] }} {{ [1, 2, 3][-1] }} {{ [1, 2, 3][:2] }} {{ 'abc'[-2:] }})",
    R"({{ [1, 2, 3, 4][1::2] }} {{ [1, 2, 3][5:] }} {{ 'abc'[10] is defined }} {{ [1, 2, 3][::-2] }} {{ 'x' | length + 1 }})",
    R"({{ -1 | abs }} {{ (-1) | abs }} {{ not true or true }} {{ 2 - -2 }} {{ 'a' + 'b' | upper }} {{ 1 - 1 - 1 }})",
    // Filters.
    R"({{ '  a b ' | trim }}| {{ 'xxaxx' | trim('x') }} {{ 'ab' | upper | lower }} {{ 'hELLO wORLD' | capitalize }} {{ 'hello world' | title }})",
    R"({{ [1, 2] | join(', ') }} {{ ['a', 'b'] | join }} {{ nothing | default('d') }} {{ '' | default('e', true) }} {{ 0 | d(5) }})",
    R"({{ [3, 1] | first }} {{ [3, 1] | last }} {{ 'abc' | list }} {{ 'abc' | reverse }} {{ 'a-b-c' | replace('-', '+') }} {{ '12' | int + 1 }})",
    R"({{ {'a': [1, 'é"\n'], 'b': none, 'c': 1.5, 'd': {}} | tojson }} {{ 'x' | string }} {{ 3 | string + '!' }})",
    R"({{ {'a': [1, {'k': []}], 'b': true} | tojson(indent=2) }})",
    R"({{ [{'r': 'a', 'v': 1}, {'r': 'b', 'v': 2}] | selectattr('r', 'equalto', 'b') | map(attribute='v') | list }})",
    R"({{ [{'r': 'a'}, {'q': 1}] | rejectattr('r', 'defined') | list | length }} {{ ['a', 'B'] | map('upper') | join }})",
    R"({{ [1, 2, 3, 4] | select('odd') | list }} {{ [1, none, 2] | reject('none') | list }} {{ 'a\nb\n\nc' | indent }} {{ 'a\nb' | indent(2, true) }})",
    R"({% for k, v in {'x': 1, 'y': [2]} | items %}{{ k }}={{ v }};{% endfor %} {{ messages | length }} {{ messages | count }})",
    // Tests.
    R"({{ nothing is defined }} {{ messages is defined }} {{ none is none }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is sequence }})",
    R"({{ 1 is number }} {{ true is number }} {{ 1 is integer }} {{ 1.5 is float }} {{ true is boolean }} {{ 'a' is iterable }} {{ 1 is iterable }})",
    R"({{ 3 is odd }} {{ 3 is even }} {{ 1 is not none }} {{ 1 is eq 1 }} {{ 2 is in [1, 2] }} {{ true is true }} {{ 'a' is mapping }})",
    R"({{ nothing is undefined and 1 is defined }} {{ nothing }}{{ nothing is string }} {{ 'x' if nothing else 'y' }})",
    // Methods.
    R"({{ '  a ' . strip() }}| {{ 'xa'.lstrip('x') }} {{ 'a\n'.rstrip('\n') }} {{ 'a,b,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b '.split() }})",
    R"({{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'a</t>b'.split('</t>')[-1] }} {{ 'aBc'.upper() }} {{ 'abab'.replace('a', 'c', 1) }})",
    R"({{ '-'.join(['a', 'b']) }} {{ 'abcb'.count('b') }} {{ 'äbc'.find('c') }} {{ 'o\'neil mc'.title() }} {{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b', 2) }})",
    R"({% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %} {{ {'b': 1}.keys() | list }} {{ {'b': 1}.values() | list }})",
    // Statements.
    R"({% for i in range(3) %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %})",
    R"({% for i in [1, 2, 3, 4] if i is even %}{{ i }}/{{ loop.length }}{% else %}none{% endfor %}{% for i in [] %}x{% else %}empty{% endfor %})",
    R"({% for a in ['x', 'y'] %}{{ loop.previtem }}{{ a }}{{ loop.nextitem is defined }}{% for b in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %})",
    R"({% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %} {{ range(1, 10, 3) | list }})",
    R"({% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}{% set y %}block {{ x }}{% endset %}{{ y }})",
    R"({% set ns = namespace(n=0, found=false) %}{% for i in [1, 2, 3] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}{{ ns.found }}{% set a, b = [1, 2] %}{{ a }}{{ b }})",
    R"({% macro m(a, b='x') %}<{{ a }}{{ b }}{{ outer }}>{% endmacro %}{% set outer = 1 %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}{{ m('q') | upper }})",
    R"({% if a is defined %}1{% elif messages %}2{% else %}3{% endif %}{% if none %}x{% elif 0 %}y{% else %}z{% endif %}{% generation %}g{% endgeneration %})",
    // Conversations.
    R"({% for message in messages %}{{ '<' + message['role'] + '>' + message.content | trim + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'A:' }}{% endif %})",
    R"({%- if messages[0]['role'] == 'system' %}{%- set system = messages[0].content %}{%- set rest = messages[1:] %}{%- else %}{%- set system = 'S' %}{%- set rest = messages %}{%- endif %}
{{- bos_token }}{{ system }}
{%- for message in rest %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate') }}
    {%- endif %}
    {%- if message.role == 'user' and loop.last %}{{- ' [LAST] ' }}{%- endif %}
    {{- message.role ~ ': ' ~ message.content.strip() ~ eos_token }}
{%- endfor %})",
    R"({% for message in messages[::-1] %}{{ loop.index0 }}{{ message.content[:5] | tojson }}{{ message.tool_calls is defined }}{{ message.nothing }}{% endfor %}{% if tools is not none %}T{% endif %})",
    // What fails, in both.
    R"({{ messages.x.y }})",
    R"({{ 1 + 'a' }})",
    R"({{ 'a' < 1 }})",
    R"({{ nothing.x }})",
    R"({{ raise_exception('no') }})",
    R"({% for i in 5 %}{% endfor %})",
    R"({% set a, b = [1] %})",
    R"({{ 1 // 0 }})",
    R"({{ 'a'.split('') }})",
    R"({% if true %})",
    R"({{ 1 + }})",
    R"({{ 'a }})",
    R"({% endfor %})",
    R"({{ messages.append(1) }})",
    R"({% nonsense %})",
};

std::vector<Json> Variables() {
  const auto conversation = [](const Json& messages, bool add_generation_prompt) {
    return Json{{"messages", messages},
                {"add_generation_prompt", add_generation_prompt},
                {"bos_token", "<s>"},
                {"eos_token", "</s>"},
                {"tools", nullptr}};
  };
  const auto message = [](const char* role, const char* content) {
    return Json{{"role", role}, {"content", content}};
  };
  return {
      conversation({message("user", "Hello")}, true),
      conversation({message("system", " Be brief.\n"), message("user", "世界 \"quoted\"\n\tx ")},
                   true),
      conversation({message("user", "a"), message("assistant", " b</think>c "),
                    message("user", "{{ 1 + 1 }}{% if x %}")},
                   false),
      conversation({message("assistant", "first")}, false),
  };
}

TEST(TemplateTest, GivesWhatJinjaGives) {
  Json cases = Json::array();
  for (const char* source : kTemplates) {
    for (const Json& variables : Variables()) {
      cases.push_back({{"template", source}, {"variables", variables}});
    }
  }
  const std::string cases_path = testing::TempDir() + "/cases.json";
  const std::string results_path = testing::TempDir() + "/results.json";
  ASSERT_OK(WriteFileAtomically(cases_path, {cases.dump()}));
  const std::string command = absl::StrCat("/usr/bin/python3 llm/jinja/testdata/render.py '",
                                           cases_path, "' '", results_path, "'");
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  ASSERT_OK_AND_ASSIGN(const std::string results_text, ReadFile(results_path));
  const Json results = Json::parse(results_text);
  ASSERT_EQ(results.size(), cases.size());
  int rendered = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto text = Render(cases[i]["template"], cases[i]["variables"]);
    if (results[i].is_null()) {
      EXPECT_FALSE(text.ok()) << cases[i]["template"] << "\n" << *text;
    } else {
      ASSERT_TRUE(text.ok()) << cases[i]["template"] << "\n" << text.status();
      EXPECT_EQ(*text, results[i]) << cases[i]["template"];
      ++rendered;
    }
  }
  EXPECT_GT(rendered, 150);
}

TEST(TemplateTest, AnErrorNamesTheLineAndTheReason) {
  EXPECT_THAT(Render("a\n{{ raise_exception('no system role') }}", Json::object()),
              StatusIs(kInvalid, AllOf(HasSubstr("line 2"), HasSubstr("no system role"))));
  EXPECT_THAT(Render("\n\n{{ x.y }}", Json::object()),
              StatusIs(kInvalid, AllOf(HasSubstr("line 3"), HasSubstr("\"x\" is undefined"))));
  EXPECT_THAT(Template::Parse("{% if x %}\n"), StatusIs(kInvalid, HasSubstr("endif")));
  EXPECT_THAT(Template::Parse("\n{{ 'a"), StatusIs(kInvalid, HasSubstr("line 2")));
  EXPECT_THAT(Template::Parse("{% include 'x' %}"), StatusIs(kUnimplemented, HasSubstr("include")));
  EXPECT_THAT(Render("{{ 'a' | nonsense }}", Json::object()),
              StatusIs(kUnimplemented, HasSubstr("filter nonsense")));
  EXPECT_THAT(Render("{{ 'a'.nonsense() }}", Json::object()),
              StatusIs(kUnimplemented, HasSubstr("nonsense")));
  EXPECT_THAT(Render("{{ strftime_now('%Y') }}", Json::object()),
              StatusIs(kUnimplemented, HasSubstr("strftime_now")));
  // What isn't reached doesn't matter.
  EXPECT_OK(Render("{% if false %}{{ 'a' | nonsense }}{% endif %}", Json::object()));
}

// A template with anything changed in it gives a text or a status.
TEST(TemplateTest, AChangedTemplateDoesNoHarm) {
  std::mt19937 random(1);
  constexpr absl::string_view kPieces[] = {"{%", "%}", "{{", "}}", "-", "(",  ")",  "[",   "]",
                                           "|",  ".",  "'",  "#}", ":", "if", "is", "not", "\n"};
  int rendered = 0;
  for (const char* source : kTemplates) {
    for (int round = 0; round < 40; ++round) {
      std::string text = source;
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text.erase(at, 1 + random() % 6);
      } else {
        text.insert(at, std::string(kPieces[random() % std::size(kPieces)]));
      }
      for (const Json& variables : Variables()) rendered += Render(text, variables).ok();
    }
  }
  EXPECT_GT(rendered, 1000);
}

TEST(TemplateTest, TemplatesThatRunAwayEnd) {
  const Json none = Json::object();
  EXPECT_THAT(Render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", none),
              StatusIs(kInvalid, HasSubstr("deep")));
  EXPECT_THAT(Render("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}"
                     "{% endfor %}",
                     none),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("too long")));
  EXPECT_THAT(Render("{{ range(1000000000) }}", none), StatusIs(kInvalid, HasSubstr("range")));
  EXPECT_THAT(Render("{{ 'a' * 1000000000000 }}", none), StatusIs(kInvalid, HasSubstr("long")));
  EXPECT_THAT(Template::Parse("{{ " + std::string(100'000, '(') + " }}"),
              StatusIs(kInvalid, HasSubstr("line 1")));
  std::string blocks;
  std::string chain = "{{ x";
  for (int i = 0; i < 100'000; ++i) {
    blocks += "{% if true %}";
    chain += ".x";
  }
  EXPECT_THAT(Template::Parse(blocks), StatusIs(kInvalid, HasSubstr("deep")));
  EXPECT_THAT(Template::Parse(chain + " }}"), StatusIs(kInvalid, HasSubstr("tokens")));
}

// `statement` a hundred thousand times over, ns.x being what it makes bigger.
absl::StatusOr<std::string> Grown(const std::string& start, const std::string& statement) {
  return Render("{% set ns = namespace(x=" + start + ") %}{% for i in range(100000) %}" +
                    statement + "{% endfor %}",
                Json::object());
}

TEST(TemplateTest, ValuesThatGrowWithoutEndAreRefused) {
  constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
  EXPECT_THAT(Grown("'ab'", "{% set ns.x = ns.x + ns.x %}"), StatusIs(kExhausted, HasSubstr("")));
  EXPECT_THAT(Grown("'ab'", "{% set ns.x = ns.x ~ ns.x %}"), StatusIs(kExhausted, HasSubstr("")));
  EXPECT_THAT(Grown("[1]", "{% set ns.x = ns.x + ns.x %}"), StatusIs(kExhausted, HasSubstr("")));
  // Small in memory, as each list has the one before twice, and huge as text.
  EXPECT_THAT(Grown("[1]", "{% set ns.x = [ns.x, ns.x] %}"), StatusIs(kExhausted, HasSubstr("")));
  EXPECT_THAT(Grown("[1]", "{% set ns.x = {'a': ns.x} %}"),
              StatusIs(kExhausted, HasSubstr("deep")));
  EXPECT_THAT(Grown("'ab'", "{% set ns.x = ns.x | replace('a', 'aab') %}"),
              StatusIs(kExhausted, HasSubstr("")));
  EXPECT_THAT(Grown("'ab'", "{% set ns.x = ns.x | join(ns.x) %}"),
              StatusIs(kExhausted, HasSubstr("")));
  EXPECT_THAT(Grown("'\n'", "{% set ns.x = ns.x | indent(1000, true, true) + ns.x %}"),
              StatusIs(kExhausted, HasSubstr("")));
  EXPECT_THAT(Render("{% for i in range(100000) %}{{ range(100000) | list | length }}{% endfor %}",
                     Json::object()),
              StatusIs(kExhausted, HasSubstr("too long")));
  const std::string deep = "{% macro m(x) %}{{ m(x)" + [] {
    std::string sum;
    for (int i = 0; i < 400; ++i) sum += "+1";
    return sum;
  }() + " }}{% endmacro %}{{ m(1) }}";
  EXPECT_THAT(Render(deep, Json::object()), StatusIs(kInvalid, HasSubstr("deep")));
}

TEST(TemplateTest, NothingContainsItself) {
  for (const char* source : {"{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
                             "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
                             "{% set ns = namespace() %}{% set ns.x = {'a': 1}.get %}",
                             "{% set ns = namespace() %}{% set ns = namespace(x=ns) %}",
                             "{% macro m() %}{% endmacro %}{{ [m] }}"}) {
    EXPECT_THAT(Render(source, Json::object()), StatusIs(kUnimplemented, HasSubstr("namespaces")))
        << source;
  }
}

TEST(TemplateTest, WhatIsNoUtf8OrNoIntegerDoesNoHarm) {
  EXPECT_EQ(Render("{{ {'\xff': '\xff'} | tojson }}", Json::object()).value(),
            "{\"\uFFFD\": \"\uFFFD\"}");
  EXPECT_THAT(Render("{{ (1.5 * 10000000000000000000.0) | int }}", Json::object()),
              StatusIs(kInvalid, HasSubstr("too large")));
  EXPECT_THAT(Render("{{ (-9223372036854775807 - 1) | abs }}", Json::object()),
              StatusIs(kInvalid, HasSubstr("too large")));
  EXPECT_EQ(Render("{{ 'abc'[::-9223372036854775807 - 1] }}", Json::object()).value(), "c");
}

}  // namespace
}  // namespace kvp::jinja
