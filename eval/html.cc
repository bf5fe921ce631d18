#include "eval/html.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvp {

std::string EscapeHtml(absl::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      case '\t':
      case '\n':
      case '\r':
        escaped += c;
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          escaped += "\xEF\xBF\xBD";
        } else {
          escaped += c;
        }
    }
  }
  return escaped;
}

std::string PercentText(double share) {
  return std::isfinite(share) ? absl::StrFormat("%.1f %%", 100 * share) : "–";
}

std::string NumberText(double value, int decimals) {
  return std::isfinite(value) ? absl::StrFormat("%.*f", decimals, value) : "–";
}

std::string BytesText(double bytes) {
  if (!std::isfinite(bytes)) return "–";
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit) bytes /= 1000;
  return absl::StrFormat(unit == 0 || bytes >= 100 ? "%.0f %s" : "%.2f %s", bytes, kUnits[unit]);
}

std::string BudgetText(double budget) {
  const double inverse = 1 / budget;
  if (budget == 1) return "whole";
  if (std::abs(inverse - std::round(inverse)) < 1e-9) {
    return absl::StrCat("1/", std::llround(inverse));
  }
  return absl::StrFormat("%.3g %%", 100 * budget);
}

}  // namespace kvp
