// Numbers of every head, brought together from the ranks that have them.

#ifndef KVP_TRAINER_GATHER_ROWS_H_
#define KVP_TRAINER_GATHER_ROWS_H_

#include "ATen/core/Tensor.h"
#include "trainer/communicator.h"
#include "trainer/process_grid.h"

namespace kvp {

// Collective. `rows` are [heads of the rank's part, ...], of one dtype, on the CPU. On rank 0:
// those of all heads, in order; undefined elsewhere.
at::Tensor GatherRows(Communicator& communicator, const ProcessGrid& grid, const at::Tensor& rows);

}  // namespace kvp

#endif  // KVP_TRAINER_GATHER_ROWS_H_
