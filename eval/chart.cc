#include "eval/chart.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "eval/html.h"

namespace kvp {
namespace {

constexpr double kLeft = 52;
constexpr double kRight = 112;  // the labels at the lines' ends
constexpr double kTop = 26;
constexpr double kBottom = 46;
constexpr double kLabelHeight = 15;
constexpr int kPlainClasses = 6;

std::string Coordinate(double value) { return absl::StrFormat("%.1f", value); }

struct Scale {
  double y_min = 0;
  double y_max = 1;
  double y_step = 0.25;
  double x_max = 1;  // halvings of the cache at the right end

  double X(double budget) const {
    return kLeft + (kChartWidth - kLeft - kRight) * (-std::log2(budget) / x_max);
  }
  double Y(double value) const {
    return kTop + (kChartHeight - kTop - kBottom) * (1 - (value - y_min) / (y_max - y_min));
  }
};

// The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `step`.
double NiceStep(double step) {
  const double power = std::pow(10, std::floor(std::log10(step)));
  for (double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= step * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

Scale ScaleOf(const LineChart& chart) {
  Scale scale;
  double smallest = 0.5;
  double low = std::isfinite(chart.reference) ? chart.reference : INFINITY;
  double high = std::isfinite(chart.reference) ? chart.reference : -INFINITY;
  for (const ChartSeries& series : chart.series) {
    for (const auto& [budget, value] : series.points) {
      smallest = std::min(smallest, budget);
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
    for (const auto& [budget, interval] : series.intervals) {
      if (!std::isfinite(interval.low) || !std::isfinite(interval.high)) continue;
      low = std::min(low, interval.low);
      high = std::max(high, interval.high);
    }
  }
  scale.x_max = -std::log2(smallest);
  if (!chart.per_cent && low <= high) {
    scale.y_step = NiceStep(std::max((high - low) / 4, 1e-3 * std::max(1.0, std::abs(high))));
    scale.y_min = std::floor(low / scale.y_step) * scale.y_step;
    scale.y_max =
        std::max(std::ceil(high / scale.y_step), scale.y_min / scale.y_step + 1) * scale.y_step;
  }
  return scale;
}

std::string Text(double x, double y, absl::string_view css_class, absl::string_view anchor,
                 absl::string_view text) {
  return absl::StrCat("<text x=\"", Coordinate(x), "\" y=\"", Coordinate(y), "\" class=\"",
                      css_class, "\" text-anchor=\"", anchor, "\">", EscapeHtml(text), "</text>\n");
}

std::string Line(double x1, double y1, double x2, double y2, absl::string_view css_class) {
  return absl::StrCat("<line x1=\"", Coordinate(x1), "\" y1=\"", Coordinate(y1), "\" x2=\"",
                      Coordinate(x2), "\" y2=\"", Coordinate(y2), "\" class=\"", css_class,
                      "\"/>\n");
}

std::string Axes(const LineChart& chart, const Scale& scale) {
  const double right = kChartWidth - kRight;
  const double bottom = kChartHeight - kBottom;
  int decimals = 0;
  for (double step = (chart.per_cent ? 100 : 1) * scale.y_step;
       std::abs(step - std::round(step)) > 1e-6 && decimals < 6; step *= 10) {
    ++decimals;
  }
  std::string svg;
  for (double y = scale.y_min; y <= scale.y_max + scale.y_step / 2; y += scale.y_step) {
    absl::StrAppend(&svg, Line(kLeft, scale.Y(y), right, scale.Y(y), "grid"),
                    Text(kLeft - 6, scale.Y(y) + 4, "tick", "end",
                         chart.per_cent ? absl::StrFormat("%.*f %%", decimals, 100 * y)
                                        : absl::StrFormat("%.*f", decimals, y)));
  }
  absl::StrAppend(&svg, Line(kLeft, bottom, right, bottom, "axis"));
  for (double tick : chart.ticks) {
    absl::StrAppend(&svg, Line(scale.X(tick), bottom, scale.X(tick), bottom + 4, "axis"),
                    Text(scale.X(tick), bottom + 18, "tick", "middle", BudgetText(tick)));
  }
  absl::StrAppend(&svg, Text(kLeft, 14, "label", "start", chart.y_label),
                  Text((kLeft + right) / 2, kChartHeight - 8, "label", "middle",
                       "share of the cache that is kept"));
  return svg;
}

// Lines of at most `columns` bytes, broken at spaces; a longer word has a line of its own.
std::vector<std::string> WrapText(absl::string_view text, size_t columns) {
  std::vector<std::string> lines = {""};
  for (absl::string_view word : absl::StrSplit(text, ' ')) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > columns) {
      lines.emplace_back();
    }
    absl::StrAppend(&lines.back(), lines.back().empty() ? "" : " ", word);
  }
  return lines;
}

// Pushes labels apart, none above the plot's top or below its bottom, keeping their order.
void Spread(std::vector<std::pair<double, size_t>>& labels) {
  std::sort(labels.begin(), labels.end());
  for (size_t i = 1; i < labels.size(); ++i) {
    labels[i].first = std::max(labels[i].first, labels[i - 1].first + kLabelHeight);
  }
  double limit = kChartHeight - kBottom + 4;
  for (size_t i = labels.size(); i-- > 0; limit = labels[i].first - kLabelHeight) {
    labels[i].first = std::min(labels[i].first, limit);
  }
}

}  // namespace

std::string SeriesClass(absl::string_view policy, int place) {
  if (policy == "kvp" || policy == "oracle") return absl::StrCat("s-", policy);
  return absl::StrCat("s", place % kPlainClasses);
}

std::string DrawLineChart(const LineChart& chart) {
  const Scale scale = ScaleOf(chart);
  std::string svg = absl::StrCat("<g class=\"chart\">\n", Axes(chart, scale));
  if (std::isfinite(chart.reference) && !chart.reference_label.empty()) {
    const double y = scale.Y(chart.reference);
    absl::StrAppend(&svg, Line(kLeft, y, kChartWidth - kRight, y, "reference"));
  }
  std::vector<std::pair<double, size_t>> labels;
  std::vector<std::string> label_text;
  std::vector<std::string> label_class;
  const auto add_label = [&](double y, absl::string_view css_class, absl::string_view text) {
    labels.emplace_back(y, label_text.size());
    label_text.emplace_back(text);
    label_class.emplace_back(css_class);
  };
  if (std::isfinite(chart.reference) && !chart.reference_label.empty()) {
    add_label(scale.Y(chart.reference) + 4, "label", chart.reference_label);
  }
  // The first series is drawn last, on top of the others.
  for (size_t i = chart.series.size(); i-- > 0;) {
    const ChartSeries& series = chart.series[i];
    std::string points;
    std::string dots;
    double last_y = NAN;
    for (const auto& [budget, value] : series.points) {
      if (!std::isfinite(value)) continue;
      last_y = scale.Y(value);
      const std::string x = Coordinate(scale.X(budget));
      const std::string y = Coordinate(last_y);
      absl::StrAppend(&points, points.empty() ? "" : " ", x, ",", y);
      absl::StrAppend(&dots, "<circle cx=\"", x, "\" cy=\"", y, "\" r=\"3\"><title>",
                      EscapeHtml(series.name), ", ", BudgetText(budget), ": ",
                      chart.per_cent ? PercentText(value) : NumberText(value, 2),
                      "</title></circle>\n");
    }
    if (points.empty()) continue;
    for (const auto& [budget, interval] : series.intervals) {
      if (!std::isfinite(interval.low) || !std::isfinite(interval.high)) continue;
      const double x = scale.X(budget);
      absl::StrAppend(&dots, Line(x, scale.Y(interval.low), x, scale.Y(interval.high), "interval"));
    }
    absl::StrAppend(&svg, "<g class=\"series ", series.css_class, "\">\n<polyline points=\"",
                    points, "\"/>\n", dots, "</g>\n");
    add_label(last_y + 4, absl::StrCat("end ", series.css_class), series.name);
  }
  Spread(labels);
  for (const auto& [y, index] : labels) {
    absl::StrAppend(
        &svg, Text(kChartWidth - kRight + 8, y, label_class[index], "start", label_text[index]));
  }
  return absl::StrCat(svg, "</g>\n");
}

std::string SvgOfChart(const LineChart& chart) {
  return absl::StrCat("<svg viewBox=\"0 0 ", kChartWidth, " ", kChartHeight,
                      "\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">\n<title>",
                      EscapeHtml(chart.title), "</title>\n", DrawLineChart(chart), "</svg>\n");
}

std::string DrawHeatMap(const HeatMap& map) {
  constexpr double kCellHeight = 30;
  constexpr double kHeadLeft = 72;
  constexpr double kHeadTop = 34;
  size_t columns = 0;
  for (const auto& row : map.cells) columns = std::max(columns, row.size());
  // Wide maps get narrow cells, too narrow for their text.
  const bool text = columns <= 12;
  const double cell_width = text ? 64 : 18;
  const double width = kHeadLeft + cell_width * static_cast<double>(columns) + 8;
  const double height = kHeadTop + kCellHeight * static_cast<double>(map.cells.size()) + 8;
  std::string svg = absl::StrCat("<svg viewBox=\"0 0 ", Coordinate(width), " ", Coordinate(height),
                                 "\" style=\"max-width:", Coordinate(1.4 * width),
                                 "px\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">\n<title>",
                                 EscapeHtml(map.title), "</title>\n");
  for (size_t column = 0; column < columns; ++column) {
    absl::StrAppend(
        &svg,
        Text(kHeadLeft + cell_width * (static_cast<double>(column) + 0.5), kHeadTop - 8, "tick",
             "middle", text ? absl::StrCat(map.column_label, " ", column) : absl::StrCat(column)));
  }
  for (size_t row = 0; row < map.cells.size(); ++row) {
    const double y = kHeadTop + kCellHeight * static_cast<double>(row);
    absl::StrAppend(&svg, Text(kHeadLeft - 8, y + kCellHeight / 2 + 4, "tick", "end",
                               absl::StrCat(map.row_label, " ", row)));
    for (size_t column = 0; column < map.cells[row].size(); ++column) {
      const double value = map.cells[row][column];
      const double x = kHeadLeft + cell_width * static_cast<double>(column);
      const double fill = std::isfinite(value) ? std::clamp(value, 0.0, 1.0) : 0;
      absl::StrAppend(&svg, "<g><title>", EscapeHtml(map.row_label), " ", row, ", ",
                      EscapeHtml(map.column_label), " ", column, ": ", PercentText(value),
                      "</title><rect x=\"", Coordinate(x + 1), "\" y=\"", Coordinate(y + 1),
                      "\" width=\"", Coordinate(cell_width - 2), "\" height=\"",
                      Coordinate(kCellHeight - 2), "\" rx=\"3\" class=\"cell\" fill-opacity=\"",
                      absl::StrFormat("%.3f", 0.06 + 0.84 * fill), "\"/>");
      if (text) {
        absl::StrAppend(&svg,
                        Text(x + cell_width / 2, y + kCellHeight / 2 + 4,
                             fill > 0.55 ? "cell-text full" : "cell-text", "middle",
                             std::isfinite(value) ? absl::StrFormat("%.0f %%", 100 * value) : "–"));
      }
      absl::StrAppend(&svg, "</g>\n");
    }
  }
  return absl::StrCat(svg, "</svg>\n");
}

std::string ChartStyle() {
  // Each of the hues keeps at least 3:1 contrast with its surface.
  static constexpr char kLight[] =
      "--bg:#ffffff;--fg:#1b1f24;--muted:#5c6570;--grid:#e3e6ea;--card:#f6f8fa;--accent:#0b5fd3;"
      "--on-accent:#ffffff;--oracle:#6b7280;--c0:#c2410c;--c1:#0f766e;--c2:#9333ea;--c3:#a16207;"
      "--c4:#be185d;--c5:#3f6212;";
  static constexpr char kDark[] =
      "--bg:#0f1318;--fg:#e6e9ed;--muted:#9aa4b0;--grid:#2a313a;--card:#171c23;--accent:#6cb0ff;"
      "--on-accent:#0b1016;--oracle:#9aa4b0;--c0:#fb923c;--c1:#2dd4bf;--c2:#c99bff;--c3:#e3b341;"
      "--c4:#f78fb9;--c5:#a3d65c;";
  std::string css = absl::StrCat(":root{color-scheme:light dark;", kLight,
                                 "}\n@media (prefers-color-scheme:dark){:root{", kDark, "}}\n");
  absl::StrAppend(
      &css,
      "svg text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:var(--fg)}\n"
      "svg .tick{fill:var(--muted);font-size:12px}\n"
      "svg .label{fill:var(--muted)}\n"
      "svg .headline{font-size:17px;font-weight:600}\n"
      "svg .grid{stroke:var(--grid);stroke-width:1}\n"
      "svg .axis{stroke:var(--muted);stroke-width:1}\n"
      "svg .reference{stroke:var(--muted);stroke-width:1.5;stroke-dasharray:2 4}\n"
      "svg .series polyline{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}\n"
      "svg .series circle{fill:var(--c)}\n"
      "svg .series .interval{stroke:var(--c);stroke-width:1.5;stroke-opacity:.7}\n"
      "svg .end{fill:var(--c)}\n"
      "svg .series.s-kvp polyline{stroke-width:3.5}\n"
      "svg .end.s-kvp{font-weight:700}\n"
      "svg .series.s-oracle polyline{stroke-dasharray:6 4}\n"
      "svg .cell{fill:var(--accent)}\n"
      "svg .cell-text{font-size:12px}\n"
      "svg .cell-text.full{fill:var(--on-accent)}\n"
      ".s-kvp{--c:var(--accent)}\n.s-oracle{--c:var(--oracle)}\n");
  for (int i = 0; i < kPlainClasses; ++i) absl::StrAppend(&css, ".s", i, "{--c:var(--c", i, ")}\n");
  return css;
}

std::string SvgFile(absl::string_view headline, const std::vector<LineChart>& charts) {
  constexpr int kLineHeight = 23;
  const int width = kChartWidth * std::max(1, static_cast<int>(charts.size()));
  // An SVG text doesn't wrap by itself; 17 px type is 10 px wide on average, if it is wide.
  const std::vector<std::string> lines = WrapText(headline, static_cast<size_t>(width - 32) / 10);
  const int head = 20 + kLineHeight * static_cast<int>(lines.size());
  std::string svg = absl::StrCat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", width, " ", kChartHeight + head,
      "\" role=\"img\">\n<title>", EscapeHtml(headline), "</title>\n<style>\n", ChartStyle(),
      "</style>\n<rect width=\"100%\" height=\"100%\" rx=\"6\" style=\"fill:var(--bg)\"/>\n");
  for (size_t i = 0; i < lines.size(); ++i) {
    absl::StrAppend(
        &svg, Text(16, 27 + kLineHeight * static_cast<double>(i), "headline", "start", lines[i]));
  }
  for (size_t i = 0; i < charts.size(); ++i) {
    absl::StrAppend(&svg, "<g transform=\"translate(", kChartWidth * static_cast<int>(i), " ", head,
                    ")\">\n", DrawLineChart(charts[i]), "</g>\n");
  }
  return absl::StrCat(svg, "</svg>\n");
}

}  // namespace kvp
