// report.html: results.json made readable: one self-contained file, nothing loaded from elsewhere,
// no scripts.

#ifndef KVP_EVAL_REPORT_H_
#define KVP_EVAL_REPORT_H_

#include <string>

#include "eval/results.h"

namespace kvp {

// The whole page. Well-formed XML as well as HTML.
std::string ReportHtml(const Results& results);

// A stand-alone SVG of the curves, for a README.
std::string ReportPicture(const Results& results);

}  // namespace kvp

#endif  // KVP_EVAL_REPORT_H_
