// Results with every field set, for tests.

#ifndef KVP_EVAL_SAMPLE_RESULTS_H_
#define KVP_EVAL_SAMPLE_RESULTS_H_

#include <string>
#include <vector>

#include "eval/results.h"

namespace kvp {

// For all six policies and the four budgets of the contract; kvp, at 1/8: 0.95 of the questions,
// the best heuristic ("key_diff") 0.7, the whole cache 0.96.
Results SampleResults();

}  // namespace kvp

#endif  // KVP_EVAL_SAMPLE_RESULTS_H_
