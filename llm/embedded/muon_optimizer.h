// Muon for the hidden matrices, AdamW for everything else.
//
// Muon (Jordan et al. 2024) replaces a matrix's momentum by the nearest
// semi-orthogonal matrix, by a few Newton-Schulz iterations. The copying
// heads that recall needs form in several times fewer steps than with AdamW.

#ifndef KVP_LLM_EMBEDDED_MUON_OPTIMIZER_H_
#define KVP_LLM_EMBEDDED_MUON_OPTIMIZER_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace kvp {

struct MuonOptions {
  // Step sizes at learning rate factor 1.
  double muon_rate = 0.02;
  double adam_rate = 3e-3;
  double momentum = 0.95;
  double muon_decay = 0.02;  // Times the rate, each step.
  double adam_decay = 0.0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_epsilon = 1e-8;
};

// What the optimiser does with one parameter.
struct ParameterRule {
  // Sizes of the row blocks that are orthogonalised on their own (such as
  // query, key and value projections in one tensor); empty means AdamW.
  std::vector<int64_t> blocks;
};

// Parameters may be updated from several threads at once, one parameter by one
// thread.
class MuonOptimizer {
 public:
  MuonOptimizer(const MuonOptions& options, std::vector<ParameterRule> rules,
                const std::vector<at::Tensor>& parameters, bool use_bf16);

  // Updates parameter `index` for step `step` (from 1). `rate_factor` scales
  // the step sizes.
  void Update(int index, int64_t step, double rate_factor, const at::Tensor& gradient,
              at::Tensor* parameter);

  // Momenta and second moments, to be saved and loaded with a checkpoint.
  std::vector<at::Tensor>& state() { return state_; }

 private:
  MuonOptions options_;
  std::vector<ParameterRule> rules_;
  bool use_bf16_;
  // Two a parameter: the momentum and AdamW's second moment (empty for Muon).
  std::vector<at::Tensor> state_;
};

// About the nearest semi-orthogonal matrix to `matrix`: its singular values
// become about 1 (0.7 to 1.2). Exposed for tests.
at::Tensor Orthogonalize(const at::Tensor& matrix, bool use_bf16);

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_MUON_OPTIMIZER_H_
