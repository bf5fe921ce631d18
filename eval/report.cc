#include "eval/report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "eval/chart.h"
#include "eval/findings.h"
#include "eval/html.h"
#include "nlohmann/json.hpp"
#include "util/json_text.h"

namespace kvp {
namespace {

std::vector<ChartSeries> SeriesOf(const std::vector<PolicyRow>& rows) {
  std::vector<ChartSeries> series;
  int place = 0;
  for (const PolicyRow& row : rows) {
    ChartSeries line;
    line.name = row.policy;
    line.css_class = SeriesClass(row.policy, IsHeuristic(row.policy) ? place++ : 0);
    line.points.assign(row.values.begin(), row.values.end());
    line.intervals.insert(row.intervals.begin(), row.intervals.end());
    series.push_back(std::move(line));
  }
  return series;
}

LineChart InModelChart(std::vector<PolicyRow> rows, double full, std::string title,
                       std::string y_label, bool per_cent) {
  LineChart chart;
  chart.title = std::move(title);
  chart.y_label = std::move(y_label);
  chart.ticks = Budgets(rows);
  chart.ticks.insert(chart.ticks.begin(), 1);
  // With everything kept all policies are the whole cache.
  for (PolicyRow& row : rows) row.values.emplace(1, full);
  chart.series = SeriesOf(rows);
  chart.per_cent = per_cent;
  chart.reference = full;
  chart.reference_label = "whole cache";
  return chart;
}

LineChart AccuracyChart(const Results& results) {
  return InModelChart(AccuracyRows(results), results.full_cache.accuracy,
                      "Answers right against the share of the cache that is kept", "answers right",
                      true);
}

LineChart PerplexityChart(const Results& results) {
  return InModelChart(PerplexityRows(results), results.full_cache.perplexity,
                      "Perplexity against the share of the cache that is kept",
                      "perplexity of the text that follows (lower is better)", false);
}

LineChart RetainedChart(const Results& results) {
  LineChart chart;
  chart.title = "Future attention kept against the share of the cache that is kept";
  chart.y_label = "future attention that the kept entries hold";
  std::vector<PolicyRow> rows;
  for (const auto& [policy, offline] : results.offline) {
    rows.push_back({policy,
                    offline.curve.empty() ? offline.retained : offline.curve,
                    {},
                    offline.retained_interval});
  }
  chart.series = SeriesOf(rows);
  for (double budget : Budgets(rows)) {
    const double halvings = -std::log2(budget);
    if (std::abs(halvings - std::round(halvings)) < 1e-9) chart.ticks.push_back(budget);
  }
  chart.reference = NAN;
  return chart;
}

std::string Section(absl::string_view title, absl::string_view text, absl::string_view body) {
  return absl::StrCat("<section>\n<h2>", EscapeHtml(title), "</h2>\n<p>", EscapeHtml(text),
                      "</p>\n", body, "</section>\n");
}

std::string Cell(absl::string_view text, absl::string_view css_class = "") {
  return absl::StrCat("<td", css_class.empty() ? "" : absl::StrCat(" class=\"", css_class, "\""),
                      ">", EscapeHtml(text), "</td>");
}

std::string Table(const std::vector<std::string>& heads, absl::string_view rows) {
  std::string html = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const std::string& head : heads) {
    absl::StrAppend(&html, "<th scope=\"col\">", EscapeHtml(head), "</th>");
  }
  return absl::StrCat(html, "</tr></thead>\n<tbody>\n", rows, "</tbody>\n</table></div>\n");
}

std::string RowHead(absl::string_view policy) {
  return absl::StrCat("<tr", policy == "kvp" ? " class=\"kvp\"" : "", "><th scope=\"row\">",
                      EscapeHtml(policy), "</th>");
}

std::string PointsText(double share) { return absl::StrFormat("%.1f", 100 * share); }

// " [92.1, 96.0]", or nothing where there is none.
std::string IntervalText(const Interval& interval,
                         const std::function<std::string(double)>& format) {
  if (!std::isfinite(interval.low) || !std::isfinite(interval.high)) return "";
  return absl::StrCat(" [", format(interval.low), ", ", format(interval.high), "]");
}

std::string ReadsText(const Results& results, absl::string_view policy) {
  if (policy == "oracle") return "the future";
  return results.entries_only.count(std::string(policy)) > 0 ? "K, V, positions" : "more";
}

// One row a policy, one column a budget; marked are the best policy that doesn't know the future,
// and the best of those that read keys, values and positions only. `sign` is -1 where less is
// better.
std::string PolicyTable(const Results& results, const std::vector<PolicyRow>& rows,
                        const std::function<std::string(double)>& format,
                        const std::function<std::string(double)>& format_error, double sign,
                        const std::function<std::string(absl::string_view)>& extra_column = {},
                        const std::string& extra_head = "", double full = NAN) {
  const std::vector<double> budgets = Budgets(rows);
  std::vector<std::string> heads = {"policy", "reads"};
  if (extra_column) heads.push_back(extra_head);
  for (double budget : budgets) heads.push_back(BudgetText(budget));
  std::string body;
  for (const PolicyRow& row : rows) {
    absl::StrAppend(&body, RowHead(row.policy), Cell(ReadsText(results, row.policy)));
    if (extra_column) absl::StrAppend(&body, Cell(extra_column(row.policy)));
    for (double budget : budgets) {
      const double value = ValueAt(row.values, budget);
      // Of the policies that `contends` holds for.
      const auto is_best = [&](const auto& contends) {
        return contends(row.policy) && std::isfinite(value) &&
               std::none_of(rows.begin(), rows.end(), [&](const PolicyRow& other) {
                 return contends(other.policy) &&
                        sign * ValueAt(other.values, budget) > sign * value;
               });
      };
      const bool best = is_best([](const std::string& policy) { return policy != "oracle"; });
      const bool best_of_entries = is_best(
          [&results](const std::string& policy) { return results.entries_only.count(policy) > 0; });
      std::string text = format(value);
      const double error = ValueAt(row.errors, budget);
      if (std::isfinite(error) && std::isfinite(value)) {
        absl::StrAppend(&text, " ± ", format_error(error));
      }
      const auto interval = row.intervals.find(budget);
      if (interval != row.intervals.end()) text += IntervalText(interval->second, format_error);
      absl::StrAppend(
          &body, Cell(text, absl::StrCat(best ? "best" : "", best && best_of_entries ? " " : "",
                                         best_of_entries ? "best-of-entries" : "")));
    }
    absl::StrAppend(&body, "</tr>\n");
  }
  if (std::isfinite(full)) {
    absl::StrAppend(&body, RowHead("whole cache"), Cell(""), extra_column ? Cell("") : "");
    for (size_t i = 0; i < budgets.size(); ++i) absl::StrAppend(&body, Cell(format(full)));
    absl::StrAppend(&body, "</tr>\n");
  }
  return Table(heads, body);
}

std::string CostTables(const Results& results) {
  std::string by_policy;
  std::string everything;
  for (const auto& [policy, cells] : results.in_model) {
    if (cells.empty()) continue;
    absl::StrAppend(&by_policy, RowHead(policy),
                    Cell(NumberText(cells.begin()->second.score_ms, 2)));
    for (const auto& [budget, cell] : cells) {
      absl::StrAppend(&by_policy, Cell(NumberText(cell.decode_ms_per_token, 2)));
      absl::StrAppend(&everything, RowHead(policy), Cell(BudgetText(budget)),
                      Cell(BytesText(cell.cache_bytes)), Cell(PercentText(cell.cache_share)),
                      Cell(NumberText(cell.score_ms, 2)), Cell(NumberText(cell.compact_ms, 2)),
                      Cell(NumberText(cell.decode_ms_per_token, 2)), "</tr>\n");
    }
    absl::StrAppend(&by_policy, "</tr>\n");
  }
  const CacheResult& full = results.full_cache;
  std::string memory = absl::StrCat("<tr><th scope=\"row\">whole</th>",
                                    Cell(BytesText(full.cache_bytes)), Cell("100.0 %"), Cell("–"),
                                    Cell(NumberText(full.decode_ms_per_token, 2)), "</tr>\n");
  const auto& [shown, cells] = results.in_model.front();
  for (const auto& [budget, cell] : cells) {
    absl::StrAppend(&memory, "<tr><th scope=\"row\">", BudgetText(budget), "</th>",
                    Cell(BytesText(cell.cache_bytes)), Cell(PercentText(cell.cache_share)),
                    Cell(NumberText(cell.compact_ms, 2)),
                    Cell(NumberText(cell.decode_ms_per_token, 2)), "</tr>\n");
  }
  std::vector<std::string> heads = {"policy", "scoring, ms"};
  for (const auto& [budget, cell] : cells) {
    heads.push_back(absl::StrCat("decode at ", BudgetText(budget), ", ms/token"));
  }
  return absl::StrCat(Table({absl::StrCat("kept by ", shown), "cache", "measured share",
                             "compaction, ms", "decode, ms/token"},
                            memory),
                      Table(heads, by_policy),
                      "<details><summary>Every policy and budget</summary>\n",
                      Table({"policy", "kept", "cache", "measured share", "scoring, ms",
                             "compaction, ms", "decode, ms/token"},
                            everything),
                      "</details>\n");
}

// "key: value" of every number and string of a JSON object, objects within it included.
void Flatten(const nlohmann::ordered_json& json, const std::string& prefix, std::string& rows) {
  for (const auto& item : json.items()) {
    const std::string name = prefix.empty() ? item.key() : absl::StrCat(prefix, ".", item.key());
    if (item.value().is_object()) {
      Flatten(item.value(), name, rows);
    } else if (!item.value().is_array()) {
      absl::StrAppend(
          &rows, "<tr><th scope=\"row\">", EscapeHtml(name), "</th>",
          Cell(item.value().is_string() ? item.value().get<std::string>() : item.value().dump()),
          "</tr>\n");
    }
  }
}

std::string Provenance(const Results& results) {
  std::string rows;
  const auto add = [&rows](absl::string_view name, absl::string_view value) {
    absl::StrAppend(&rows, "<tr><th scope=\"row\">", EscapeHtml(name), "</th>", Cell(value),
                    "</tr>\n");
  };
  const ModelFacts& facts = results.model_facts;
  add("model", results.model);
  add("fingerprint", facts.fingerprint);
  add("attention", absl::StrCat(facts.layers, " layers, ", facts.query_heads, " query heads, ",
                                facts.kv_heads, " KV heads of ", facts.head_dim));
  add("runs in",
      absl::StrCat(facts.dtype, " on ", facts.device, ", ", results.threads, " threads"));
  add("traces", absl::StrCat(results.traces, " (", results.tokens, " tokens), ",
                             results.held_out_traces, " of them held out"));
  add("trace bytes a token", NumberText(results.bytes_per_token, 0));
  if (results.corrupt_blocks > 0)
    add("corrupt blocks, skipped", absl::StrCat(results.corrupt_blocks));
  add("prompts",
      absl::StrCat(results.prompts, " of ", NumberText(results.context_tokens, 0),
                   " context tokens on average, ", results.full_cache.questions, " questions"));
  add("natural text", absl::StrCat(results.text_windows, " windows, ",
                                   results.full_cache.perplexity_tokens, " tokens predicted"));
  add("kept before all others",
      absl::StrCat("the first ", results.protected_sinks, " and the last ",
                   results.protected_recent, " entries (in the model)"));
  add("seed", absl::StrCat(results.seed));
  for (const auto& [name, value] : results.agents) add(absl::StrCat("agents: ", name), value);
  for (const auto& [name, value] : results.timing) add(name, NumberText(value, 2));
  std::string html = Table({"", ""}, rows);
  if (!results.training_json.empty()) {
    const auto training = ParseOrderedJson(results.training_json, "the training results");
    std::string training_rows;
    if (training.ok() && training->is_object()) Flatten(*training, "", training_rows);
    absl::StrAppend(&html, "<details><summary>Training</summary>\n", Table({"", ""}, training_rows),
                    "</details>\n");
  }
  return html;
}

std::string Style() {
  return absl::StrCat(
      ChartStyle(),
      "*{box-sizing:border-box}\n"
      "body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.55 system-ui,-apple-system,"
      "'Segoe UI',Roboto,sans-serif}\n"
      "main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}\n"
      "h1{font-size:1.05rem;font-weight:600;color:var(--muted);margin:0 0 8px}\n"
      ".headline{font-size:clamp(1.25rem,3.4vw,1.9rem);line-height:1.3;font-weight:650;"
      "margin:0 0 20px;max-width:38em}\n"
      "h2{font-size:1.2rem;margin:40px 0 4px}\n"
      "p{max-width:46em}section>p{margin:0 0 12px;color:var(--muted)}\n"
      ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;"
      "margin:0 0 8px}\n"
      ".tile{background:var(--card);border-radius:8px;padding:12px 16px}\n"
      ".tile b{display:block;font-size:1.7rem;line-height:1.2;font-variant-numeric:tabular-nums}\n"
      ".tile span{color:var(--muted);font-size:.9rem}\n"
      ".tile.kvp b{color:var(--accent)}\n"
      ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));"
      "gap:20px}\n"
      "figure{margin:0;background:var(--card);border-radius:8px;padding:12px}\n"
      "figcaption{font-weight:600;margin:0 0 6px}\n"
      "svg{display:block;width:100%;height:auto}\n"
      ".scroll{overflow-x:auto;margin:0 0 16px}\n"
      "table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}\n"
      "th,td{padding:5px 14px 5px 0;text-align:right;border-bottom:1px solid var(--grid);"
      "white-space:nowrap}\n"
      "th:first-child{text-align:left;font-weight:500}\n"
      "thead th{color:var(--muted);font-weight:500}\n"
      "tr.kvp th{color:var(--accent);font-weight:700}\n"
      "td.best{font-weight:700}\n"
      "td.best-of-entries{text-decoration:underline}\n"
      ".facts td{text-align:left;white-space:normal;overflow-wrap:anywhere}\n"
      "summary{cursor:pointer;margin:0 0 8px}\n");
}

std::string Tile(absl::string_view value, absl::string_view text, absl::string_view css_class) {
  return absl::StrCat("<div class=\"tile ", css_class, "\"><b>", EscapeHtml(value), "</b><span>",
                      EscapeHtml(text), "</span></div>\n");
}

std::string Tiles(const Results& results) {
  const HeadlineFacts facts = HeadlineFactsOf(results);
  if (facts.budget == 0) return "";
  std::string tiles = "<div class=\"tiles\">\n";
  const std::string what = facts.in_model ? "answers right" : "future attention kept";
  if (std::isfinite(facts.kvp)) {
    absl::StrAppend(&tiles, Tile(PercentText(facts.kvp),
                                 absl::StrCat(what, ", kvp at ", BudgetText(facts.budget)), "kvp"));
  }
  if (!facts.heuristic.empty()) {
    absl::StrAppend(
        &tiles, Tile(PercentText(facts.heuristic_value),
                     absl::StrCat(what, ", ", facts.heuristic, ", the best heuristic there"), ""));
  }
  if (!facts.sees_more.empty()) {
    absl::StrAppend(&tiles, Tile(PercentText(facts.sees_more_value),
                                 absl::StrCat(what, ", ", facts.sees_more,
                                              ", the best that sees more than the cache"),
                                 ""));
  }
  if (std::isfinite(facts.top)) {
    absl::StrAppend(&tiles,
                    Tile(PercentText(facts.top),
                         absl::StrCat(what, facts.in_model ? ", whole cache" : ", oracle"), ""));
  }
  for (const auto& [policy, cells] : results.in_model) {
    const auto found = cells.find(facts.budget);
    if (policy != "kvp" || found == cells.end()) continue;
    absl::StrAppend(
        &tiles,
        Tile(BytesText(found->second.cache_bytes),
             absl::StrCat("cache in memory, of ", BytesText(results.full_cache.cache_bytes)), ""));
  }
  return absl::StrCat(tiles, "</div>\n");
}

std::string Figure(const LineChart& chart) {
  return absl::StrCat("<figure><figcaption>", EscapeHtml(chart.title), "</figcaption>\n",
                      SvgOfChart(chart), "</figure>\n");
}

// One row a policy, one column a task; empty where there are fewer than two tasks.
std::string TaskTable(const std::vector<TaskRow>& rows, const std::string& all_head) {
  if (rows.empty() || rows.front().values.size() < 2) return "";
  std::vector<std::string> heads = {"policy"};
  for (const auto& [task, value] : rows.front().values) heads.push_back(task);
  heads.insert(heads.end(), {"mean of tasks", all_head});
  std::string body;
  for (const TaskRow& row : rows) {
    absl::StrAppend(&body, RowHead(row.policy));
    for (const auto& [task, ignored] : rows.front().values) {
      const auto value = row.values.find(task);
      const auto interval = row.intervals.find(task);
      absl::StrAppend(
          &body,
          Cell(absl::StrCat(
              value == row.values.end() ? "–" : PercentText(value->second),
              interval == row.intervals.end() ? "" : IntervalText(interval->second, PointsText))));
    }
    absl::StrAppend(
        &body, Cell(PercentText(row.mean)),
        Cell(absl::StrCat(PercentText(row.all), IntervalText(row.all_interval, PointsText))),
        "</tr>\n");
  }
  return Table(heads, body);
}

// The table of `budget`, those of the other budgets folded away.
std::string TaskTables(const std::vector<double>& budgets, double budget,
                       const std::function<std::string(double)>& table) {
  const std::string shown = table(budget);
  if (shown.empty()) return "";
  std::string html = absl::StrCat("<h3>By task, keeping ", BudgetText(budget), "</h3>\n", shown,
                                  "<details><summary>By task at the other budgets</summary>\n");
  for (const double other : budgets) {
    if (other == budget) continue;
    absl::StrAppend(&html, "<h3>Keeping ", BudgetText(other), "</h3>\n", table(other));
  }
  return absl::StrCat(html, "</details>\n");
}

// What the intervals are, where there are any.
std::string IntervalNote(const Results& results, absl::string_view resampled) {
  if (results.bootstrap_resamples < 1) return "";
  return absl::StrCat("In brackets, and as bars in the chart: ", 100 * results.confidence,
                      " % bootstrap intervals over ", resampled, ". ");
}

constexpr char kMarksNote[] =
    "Bold is the best that doesn't know the future, underlined the best of those that read keys, "
    "values and positions only.";

}  // namespace

std::string ReportHtml(const Results& results) {
  const double budget = HeadlineFactsOf(results).budget;
  std::string charts;
  if (HasQuestions(results)) absl::StrAppend(&charts, Figure(AccuracyChart(results)));
  if (!results.offline.empty()) absl::StrAppend(&charts, Figure(RetainedChart(results)));
  if (HasText(results)) absl::StrAppend(&charts, Figure(PerplexityChart(results)));

  std::string body;
  if (HasQuestions(results)) {
    absl::StrAppend(
        &body,
        Section(
            "Answers right",
            absl::StrCat(
                "The cache is compressed after the context, before any question is seen, and what "
                "isn't kept is freed. ",
                IntervalNote(results, "prompts"), kMarksNote),
            absl::StrCat(PolicyTable(results, AccuracyRows(results), PercentText, PointsText, 1, {},
                                     "", results.full_cache.accuracy),
                         TaskTables(Budgets(AccuracyRows(results)), budget, [&](double kept) {
                           return TaskTable(AccuracyTaskRows(results, kept), "all questions");
                         }))));
  }
  if (!results.offline.empty()) {
    const std::vector<double> offline_budgets = Budgets(RetainedRows(results));
    const double offline_budget =
        std::count(offline_budgets.begin(), offline_budgets.end(), budget) > 0
            ? budget
            : offline_budgets.back();
    const auto cost = [&results](absl::string_view name) {
      for (const auto& [policy, offline] : results.offline) {
        if (policy == name) {
          return absl::StrCat(
              NumberText(offline.cost, 3),
              IntervalText(offline.cost_interval, [](double cost) { return NumberText(cost, 3); }));
        }
      }
      return std::string("–");
    };
    absl::StrAppend(
        &body,
        Section("Future attention kept, on held-out traces",
                absl::StrCat(
                    "How much of the attention that later tokens pay lands on the entries that a "
                    "policy ranks highest. "
                    "Cost sums this up over all budgets: 1 is the oracle, larger is worse. ",
                    IntervalNote(results, "traces"), kMarksNote),
                absl::StrCat(
                    PolicyTable(results, RetainedRows(results), PercentText, PointsText, 1, cost,
                                "cost"),
                    TaskTables(Budgets(RetainedRows(results)), offline_budget, [&](double kept) {
                      return TaskTable(RetainedTaskRows(results, kept), "all heads and traces");
                    }))));
  }
  if (HasText(results)) {
    const auto number = [](double value) { return NumberText(value, 2); };
    absl::StrAppend(
        &body,
        Section(
            "Perplexity of natural text",
            absl::StrCat("Of the text that follows a compressed context; lower is better. ± is one "
                         "standard error of the difference from the whole cache, over windows. ",
                         kMarksNote),
            PolicyTable(results, PerplexityRows(results), number, number, -1, {}, "",
                        results.full_cache.perplexity)));
  }
  if (!results.in_model.empty()) {
    absl::StrAppend(
        &body,
        Section(
            "What it costs",
            absl::StrCat(
                "Bytes are read from the tensors after compaction; times are medians, on one CPU "
                "thread where the model runs on the CPU. Prefilling a context takes ",
                results.timing.count("prefill_ms") != 0
                    ? NumberText(results.timing.at("prefill_ms"), 1)
                    : "–",
                " ms; a policy scores all heads once, whatever the budget. The oracle's time "
                "leaves out how it learns the future."),
            CostTables(results)));
  }
  const std::vector<std::vector<double>> gap = GapClosed(results, budget);
  if (!gap.empty()) {
    HeatMap map{"Gap closed by head", "layer", "head", gap};
    absl::StrAppend(
        &body,
        Section("Head by head",
                absl::StrCat(
                    "How far kvp gets from each head's best heuristic that reads keys, values and "
                    "positions only (0 %) to the oracle (100 %), by future attention kept at ",
                    BudgetText(budget), "."),
                absl::StrCat("<figure>", DrawHeatMap(map), "</figure>\n")));
  }
  absl::StrAppend(
      &body, Section("What made this", "",
                     absl::StrCat("<div class=\"facts\">\n", Provenance(results), "</div>\n")));

  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>KVP: ",
      EscapeHtml(results.model), "</title>\n<style>\n", Style(),
      "</style>\n</head>\n<body>\n<main>\n<h1>", "KV cache eviction on ", EscapeHtml(results.model),
      "</h1>\n<p class=\"headline\">", EscapeHtml(Headline(results)), "</p>\n", Tiles(results),
      "<div class=\"charts\">\n", charts, "</div>\n", body, "</main>\n</body>\n</html>\n");
}

std::string ReportPicture(const Results& results) {
  std::vector<LineChart> charts;
  if (HasQuestions(results)) charts.push_back(AccuracyChart(results));
  if (!results.offline.empty()) charts.push_back(RetainedChart(results));
  if (charts.empty() && HasText(results)) charts.push_back(PerplexityChart(results));
  return SvgFile(Headline(results), charts);
}

}  // namespace kvp
