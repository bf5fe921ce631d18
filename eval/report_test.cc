#include "eval/report.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "eval/chart.h"
#include "eval/findings.h"
#include "eval/html.h"
#include "eval/sample_results.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

using testing::HasSubstr;
using testing::Not;

// "" for well-formed XML (as far as tags, attributes and entities go), else what is wrong.
std::string XmlError(absl::string_view text) {
  std::vector<std::string> open;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '&') {
      const size_t end = text.find(';', i);
      const absl::string_view entity = text.substr(i, end - i + 1);
      if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;" &&
          entity != "&#39;") {
        return absl::StrCat("entity ", text.substr(i, 12));
      }
      i = end + 1;
      continue;
    }
    if (text[i] != '<') {
      ++i;
      continue;
    }
    const size_t end = text.find('>', i);
    if (end == absl::string_view::npos) return "a tag without an end";
    absl::string_view tag = text.substr(i + 1, end - i - 1);
    i = end + 1;
    if (tag[0] == '!') continue;
    if (absl::StrContains(tag, '<')) return absl::StrCat("< within tag ", tag);
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return absl::StrCat("stray ", tag);
      open.pop_back();
      continue;
    }
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return absl::StrCat("quotes of ", tag);
    if (tag.back() == '/') continue;
    open.emplace_back(tag.substr(0, tag.find(' ')));
  }
  return open.empty() ? "" : absl::StrCat("open ", open.back());
}

TEST(ReportTest, IsWellFormedAndSelfContained) {
  const std::string html = ReportHtml(SampleResults());
  EXPECT_EQ(XmlError(html), "");
  for (const char* outside : {"<script", "src=", "href=", "@import", "url("}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(html, HasSubstr("name=\"viewport\""));
}

TEST(ReportTest, ShowsEveryPolicyAndWhatMadeIt) {
  const std::string html = ReportHtml(SampleResults());
  for (const char* text : {"kvp", "oracle", "random", "streaming_llm", "k_norm", "key_diff",
                           "0123abcd", "18446744073709551615", "loss.last", "1.97 MB", "123 kB",
                           "Head by head", "Perplexity of natural text"}) {
    EXPECT_THAT(html, HasSubstr(text));
  }
}

TEST(ReportTest, TheHeadlineSaysTheNumbers) {
  EXPECT_EQ(Headline(SampleResults()),
            "Keeping 1/8 of the cache: kvp answers 95.0 % of the questions right, the best "
            "heuristic (key_diff) 70.0 %, the whole cache 96.0 %.");
  Results offline_only = SampleResults();
  offline_only.in_model.clear();
  offline_only.full_cache = {};
  EXPECT_THAT(Headline(offline_only), HasSubstr("of the future attention"));
  EXPECT_EQ(Headline(Results()), "Nothing was measured.");
}

TEST(ReportTest, PoliciesThatSeeMoreAreToldApart) {
  Results results = SampleResults();
  results.entries_only.erase("key_diff");
  EXPECT_EQ(Headline(results),
            "Keeping 1/8 of the cache: kvp answers 95.0 % of the questions right, the best "
            "heuristic (random) 20.0 %, the best that sees more (key_diff) 70.0 %, the whole cache "
            "96.0 %.");
  // At 1/8 key_diff is the best of all, kvp the best of those that read entries only.
  results.in_model[5].second.at(0.125).accuracy = 0.955;
  const std::string html = ReportHtml(results);
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\">key_diff</th><td>more</td>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\">kvp</th><td>K, V, positions</td>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\">oracle</th><td>the future</td>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"best\">95.5 % "));
  EXPECT_THAT(html, HasSubstr("<td class=\"best-of-entries\">95.0 % [92.0, 96.5]</td>"));
  // The way to the oracle begins at the best of those that see no more than kvp.
  results = SampleResults();
  results.offline[5].second.heads[3].retained[0.125] = 0.85;
  const double among_all = GapClosed(results, 0.125)[1][1];
  results.entries_only.erase("key_diff");
  EXPECT_NE(GapClosed(results, 0.125)[1][1], among_all);
}

TEST(ReportTest, IntervalsStandInTablesAndCharts) {
  Results results = SampleResults();
  const std::string html = ReportHtml(results);
  EXPECT_THAT(html, HasSubstr("95 % bootstrap intervals over prompts"));
  EXPECT_THAT(html, HasSubstr("95.0 % [92.0, 96.5]"));
  EXPECT_THAT(html, HasSubstr("3.200 [3.180, 3.225]"));
  const auto bars = [](const std::string& text) {
    int count = 0;
    for (size_t at = text.find("class=\"interval\""); at != std::string::npos;
         at = text.find("class=\"interval\"", at + 1)) {
      ++count;
    }
    return count;
  };
  // 6 policies × 4 budgets, of answers and of attention.
  EXPECT_EQ(bars(html), 48);
  EXPECT_EQ(bars(ReportPicture(results)), 48);
  results.in_model[0].second.at(0.5).accuracy_interval = {};
  EXPECT_EQ(bars(ReportHtml(results)), 47);
}

TEST(ReportTest, ABarReachesFromTheIntervalsLowToItsHigh) {
  LineChart chart;
  chart.ticks = {1, 0.5};
  chart.reference = NAN;
  chart.series.push_back({"a", "s0", {{1, 0.5}, {0.5, 0.4}}, {{0.5, {0.25, 0.75}}}});
  const std::string svg = DrawLineChart(chart);
  const size_t at = svg.rfind("<line", svg.find("class=\"interval\""));
  const auto number = [&](const std::string& name) {
    return std::stod(svg.substr(svg.find(name + "=\"", at) + name.size() + 2));
  };
  // The axis is linear: a quarter and three quarters are as far from each other as half of it.
  const size_t grid = svg.find("class=\"grid\"");
  const double zero = std::stod(svg.substr(svg.rfind("y1=\"", grid) + 4));
  EXPECT_EQ(number("x1"), number("x2"));
  EXPECT_NEAR(zero - number("y2"), 3 * (zero - number("y1")), 0.3);
  EXPECT_GT(zero - number("y1"), 10);
}

TEST(ReportTest, TasksStandBesideTheirMean) {
  const std::string html = ReportHtml(SampleResults());
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\">retrieval</th><th scope=\"col\">tracking</th>"
                              "<th scope=\"col\">mean of tasks</th>"
                              "<th scope=\"col\">all questions</th>"));
  EXPECT_THAT(html, HasSubstr("<td>95.0 % [91.0, 97.0]</td><td>47.5 % [38.0, 57.0]</td>"
                              "<td>71.2 %</td><td>95.0 % [92.0, 96.5]</td>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\">whole cache</th><td>96.0 % [93.0, 98.0]</td>"
                              "<td>90.0 % [85.0, 95.0]</td><td>93.0 %</td>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\">retrieval</th><th scope=\"col\">text</th>"));
  EXPECT_THAT(html, HasSubstr("By task at the other budgets"));
  Results one_task = SampleResults();
  one_task.full_cache.tasks.erase("tracking");
  for (auto& [policy, cells] : one_task.in_model) {
    for (auto& [budget, cell] : cells) cell.tasks.erase("tracking");
  }
  for (auto& [policy, offline] : one_task.offline) offline.tasks.erase("text");
  EXPECT_THAT(ReportHtml(one_task), Not(HasSubstr("By task")));
}

TEST(ReportTest, PartsThatWerentRunAreLeftOut) {
  Results results = SampleResults();
  results.offline.clear();
  std::string html = ReportHtml(results);
  EXPECT_EQ(XmlError(html), "");
  EXPECT_THAT(html, Not(HasSubstr("Head by head")));
  results = SampleResults();
  results.in_model.clear();
  results.full_cache = {};
  html = ReportHtml(results);
  EXPECT_EQ(XmlError(html), "");
  EXPECT_THAT(html, Not(HasSubstr("What it costs")));
  EXPECT_EQ(XmlError(ReportHtml(Results())), "");
}

TEST(ReportTest, NamesAreEscaped) {
  Results results = SampleResults();
  results.model = "<script>alert('x')</script>";
  results.in_model[2].first = "a<b>&\"c\"";
  results.offline[2].first = "a<b>&\"c\"";
  results.agents["<i>"] = "</td><b>";
  const std::string html = ReportHtml(results);
  EXPECT_EQ(XmlError(html), "");
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, HasSubstr("a&lt;b&gt;&amp;&quot;c&quot;"));
  EXPECT_EQ(EscapeHtml("<a href='x'>&\"\x01"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\xEF\xBF\xBD");
}

TEST(ReportTest, GapClosedIsTheShareOfTheWayToTheOracle) {
  Results results = SampleResults();
  // kvp, oracle, and the best heuristic of head 3.
  results.offline[0].second.heads[3].retained[0.125] = 0.8;
  results.offline[1].second.heads[3].retained[0.125] = 0.9;
  for (size_t i = 2; i < 6; ++i) results.offline[i].second.heads[3].retained[0.125] = 0.1 * i;
  auto gap = GapClosed(results, 0.125);
  ASSERT_EQ(gap.size(), 2);
  ASSERT_EQ(gap[1].size(), 2);
  EXPECT_NEAR(gap[1][1], (0.8 - 0.5) / (0.9 - 0.5), 1e-12);
  results.offline[1].second.heads[3].retained[0.125] = 0.5;
  EXPECT_TRUE(std::isnan(GapClosed(results, 0.125)[1][1]));
  results.offline.erase(results.offline.begin());
  EXPECT_TRUE(GapClosed(results, 0.125).empty());
}

TEST(ReportTest, ThePictureIsAWellFormedFileOfItsOwn) {
  const std::string svg = ReportPicture(SampleResults());
  EXPECT_EQ(XmlError(svg), "");
  EXPECT_TRUE(absl::StartsWith(svg, "<svg xmlns="));
  EXPECT_THAT(svg, HasSubstr("key_diff"));
  EXPECT_LT(svg.size(), 40000);
}

TEST(ReportTest, LabelsOfLinesThatEndTogetherDontOverlap) {
  LineChart chart;
  chart.ticks = {1, 0.5};
  chart.reference = NAN;
  for (int i = 0; i < 6; ++i) {
    chart.series.push_back({absl::StrCat("policy", i), SeriesClass("x", i), {{1, 1}, {0.5, 0.01}}});
  }
  const std::string svg = DrawLineChart(chart);
  std::vector<double> heights;
  for (size_t at = svg.find("class=\"end"); at != std::string::npos;
       at = svg.find("class=\"end", at + 1)) {
    heights.push_back(std::stod(svg.substr(svg.rfind("y=\"", at) + 3)));
  }
  ASSERT_EQ(heights.size(), 6);
  for (size_t i = 1; i < heights.size(); ++i) EXPECT_GE(heights[i] - heights[i - 1], 14.9);
  EXPECT_LE(heights.back(), kChartHeight);
}

}  // namespace
}  // namespace kvp
