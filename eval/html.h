// Text into HTML and SVG: the one place where names are escaped.

#ifndef KVP_EVAL_HTML_H_
#define KVP_EVAL_HTML_H_

#include <string>

#include "absl/strings/string_view.h"

namespace kvp {

// `text` safe as an element's content and as a quoted attribute's value, in HTML and XML. Control
// characters, which XML doesn't allow, become U+FFFD.
std::string EscapeHtml(absl::string_view text);

// "12.3 %" of 0.123; "–" where it is no number.
std::string PercentText(double share);
// At most `decimals` decimals, "–" where it is no number.
std::string NumberText(double value, int decimals);
// "1.9 MB", in powers of 1,000.
std::string BytesText(double bytes);
// "1/8" where the inverse is whole, else a percentage.
std::string BudgetText(double budget);

}  // namespace kvp

#endif  // KVP_EVAL_HTML_H_
