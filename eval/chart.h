// SVG drawings: lines over budgets, and a map of heads. They carry no colours of their own but
// class names ("s0", "s1", …, "axis", "grid"), which ChartStyle() gives colours for light and dark
// surroundings.

#ifndef KVP_EVAL_CHART_H_
#define KVP_EVAL_CHART_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "eval/bootstrap.h"

namespace kvp {

struct ChartSeries {
  std::string name;
  // CSS class that colours it, as SeriesClass() gives.
  std::string css_class;
  // (budget, value); values that are no number are left out.
  std::vector<std::pair<double, double>> points;
  // Drawn as bars, by budget; those that are no number are left out.
  std::map<double, Interval> intervals = {};
};

struct LineChart {
  std::string title;  // for readers that can't see it
  std::string y_label;
  std::vector<ChartSeries> series;
  // Budgets that get a tick on the x axis, which is logarithmic: the whole cache at the left, small
  // budgets at the right.
  std::vector<double> ticks;
  // The y axis: 0 to 1 in per cent, or (where per_cent isn't set) from the values.
  bool per_cent = true;
  // A horizontal line with a label; left out where the value is no number.
  double reference = 0;
  std::string reference_label;
};

constexpr int kChartWidth = 480;
constexpr int kChartHeight = 330;

// A group element of kChartWidth × kChartHeight, each line labelled at its end.
std::string DrawLineChart(const LineChart& chart);

// Cells [row][column] of shares, drawn from 0 (empty) to 1 (full) with their per cent in them.
struct HeatMap {
  std::string title;
  std::string row_label;     // "layer"
  std::string column_label;  // "KV head"
  std::vector<std::vector<double>> cells;
};

// A whole svg element.
std::string DrawHeatMap(const HeatMap& map);

// An svg element around a chart's group.
std::string SvgOfChart(const LineChart& chart);
// A stand-alone SVG file of charts side by side under a headline, with its style inside.
std::string SvgFile(absl::string_view headline, const std::vector<LineChart>& charts);

// CSS variables and classes of all drawings, for light and dark surroundings.
std::string ChartStyle();
// The class of a policy: its own for "kvp" and "oracle", else by its place among the others.
std::string SeriesClass(absl::string_view policy, int place);

}  // namespace kvp

#endif  // KVP_EVAL_CHART_H_
