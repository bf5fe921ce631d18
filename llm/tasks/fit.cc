#include "llm/tasks/fit.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kvp {

absl::StatusOr<Fit> LargestFitting(int64_t minimum, int64_t maximum, int64_t limit,
                                   const std::function<int64_t(int64_t size)>& count) {
  Fit fit{minimum, count(minimum)};
  if (fit.tokens > limit) {
    return absl::OutOfRangeError(
        absl::StrCat("needs at least ", fit.tokens, " tokens, ", limit, " are there"));
  }
  int64_t too_large = maximum + 1;
  bool overshot = false;
  bool halve = false;
  // Too high at first, as the prompt's frame is in it: the first guesses are too small.
  double tokens_per_unit = std::max(
      1.0, static_cast<double>(fit.tokens) / static_cast<double>(std::max<int64_t>(1, minimum)));
  while (too_large - fit.size > 1 && limit - fit.tokens > limit / 256) {
    int64_t guess = fit.size + static_cast<int64_t>((limit - fit.tokens) / tokens_per_unit);
    // Interpolation alone can creep up to one end: every second step halves.
    if (overshot && halve) guess = fit.size + (too_large - fit.size) / 2;
    halve = !halve;
    guess = std::clamp(guess, fit.size + 1, too_large - 1);
    const int64_t tokens = count(guess);
    if (tokens > limit) {
      tokens_per_unit = static_cast<double>(tokens - fit.tokens) / (guess - fit.size);
      too_large = guess;
      overshot = true;
    } else {
      if (tokens > fit.tokens) {
        tokens_per_unit = static_cast<double>(tokens - fit.tokens) / (guess - fit.size);
      }
      fit = {guess, tokens};
    }
  }
  return fit;
}

}  // namespace kvp
