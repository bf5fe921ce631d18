#include "policy/heuristics/k_norm.h"

namespace kvp {

at::Tensor KNormScores(const PolicyInput& input) {
  return input.keys.square().sum(-1).sqrt().neg();
}

}  // namespace kvp
