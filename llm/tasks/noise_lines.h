// RULER's noise haystack: one line, repeated, with lines of the task put between.

#ifndef KVP_LLM_TASKS_NOISE_LINES_H_
#define KVP_LLM_TASKS_NOISE_LINES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "util/split_mix64.h"

namespace kvp {

inline constexpr char kNoiseLine[] =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

// Puts `insertions`, in their order, before different random ones of `lines`. There are at least as
// many lines as insertions.
std::vector<std::string> InsertLines(const std::vector<std::string>& insertions,
                                     std::vector<std::string> lines, SplitMix64* random);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_NOISE_LINES_H_
