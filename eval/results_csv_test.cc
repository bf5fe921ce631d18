#include "eval/results_csv.h"

#include <map>
#include <string>
#include <vector>

#include "eval/sample_results.h"
#include "gtest/gtest.h"

namespace kvp {
namespace {

// Rows of fields, by the grammar of RFC 4180.
std::vector<std::vector<std::string>> ParseCsv(const std::string& text) {
  std::vector<std::vector<std::string>> rows(1, {""});
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string& field = rows.back().back();
    if (quoted) {
      if (text[i] != '"') {
        field += text[i];
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        field += text[++i];
      } else {
        quoted = false;
      }
    } else if (text[i] == '"') {
      quoted = true;
    } else if (text[i] == ',') {
      rows.back().emplace_back();
    } else if (text[i] == '\n') {
      rows.push_back({""});
    } else {
      field += text[i];
    }
  }
  rows.pop_back();
  return rows;
}

TEST(ResultsCsvTest, EveryNumberStandsInItsRowWithItsInterval) {
  Results results = SampleResults();
  results.in_model[2].first = "a,\"b\"\nc";
  results.entries_only.insert("a,\"b\"\nc");
  const auto rows = ParseCsv(ResultsToCsv(results));
  std::map<std::vector<std::string>, std::vector<std::string>> found;
  EXPECT_EQ(rows[0], (std::vector<std::string>{"part", "policy", "entries_only", "task", "budget",
                                               "metric", "value", "low", "high", "count"}));
  for (size_t i = 1; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i].size(), 10) << i;
    const bool fresh = found
                           .emplace(std::vector<std::string>(rows[i].begin(), rows[i].begin() + 6),
                                    std::vector<std::string>(rows[i].begin() + 6, rows[i].end()))
                           .second;
    EXPECT_TRUE(fresh) << i;
  }
  const auto expect = [&found](const std::vector<std::string>& key, double value, double low,
                               double high, const std::string& count) {
    ASSERT_EQ(found.count(key), 1) << testing::PrintToString(key);
    const std::vector<std::string>& row = found[key];
    EXPECT_EQ(std::stod(row[0]), value);
    EXPECT_EQ(std::stod(row[1]), low);
    EXPECT_EQ(std::stod(row[2]), high);
    EXPECT_EQ(row[3], count);
  };
  const PolicyOffline& offline = results.offline[5].second;
  expect({"offline", "key_diff", "1", "", "", "cost"}, 3.2, 3.2 - 0.02, 3.2 + 0.025, "40");
  expect({"offline", "key_diff", "1", "", "0.0625", "retained"}, offline.retained.at(0.0625),
         offline.retained_interval.at(0.0625).low, offline.retained_interval.at(0.0625).high, "40");
  expect({"offline", "oracle", "0", "retrieval", "", "cost"}, 1.25, 1.2, 1.3, "30");
  const CacheResult& cell = results.in_model[2].second.at(0.5);
  expect({"in_model", "a,\"b\"\nc", "1", "", "0.5", "accuracy"}, cell.accuracy,
         cell.accuracy_interval.low, cell.accuracy_interval.high, "480");
  expect({"in_model", "a,\"b\"\nc", "1", "tracking", "0.5", "accuracy"}, cell.tasks.at("tracking"),
         0.4 * cell.accuracy, 0.6 * cell.accuracy, "120");
  expect({"in_model", "whole_cache", "0", "", "1", "accuracy"}, 0.96, 0.94, 0.975, "480");
  EXPECT_EQ((found[{"in_model", "kvp", "1", "", "0.125", "compact_ms"}]),
            (std::vector<std::string>{"0.6", "", "", ""}));
  EXPECT_EQ((found[{"in_model", "kvp", "1", "", "0.125", "task_mean"}][0]), BudgetKey(0.75 * 0.95));
}

TEST(ResultsCsvTest, PartsThatWerentRunHaveNoRows) {
  Results results = SampleResults();
  results.in_model.clear();
  for (const auto& row : ParseCsv(ResultsToCsv(results))) EXPECT_NE(row[0], "in_model");
  EXPECT_EQ(ParseCsv(ResultsToCsv(Results())).size(), 1);
}

TEST(ResultsCsvTest, StandsBesideTheJson) {
  EXPECT_EQ(CsvPathOf("out/results.json"), "out/results.csv");
  EXPECT_EQ(CsvPathOf("a.json.d/b"), "a.json.d/b.csv");
}

}  // namespace
}  // namespace kvp
