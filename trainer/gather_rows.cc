#include "trainer/gather_rows.h"

#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "util/tensor_bytes.h"

namespace kvp {

at::Tensor GatherRows(Communicator& communicator, const ProcessGrid& grid, const at::Tensor& rows) {
  // Replicas have the same rows: the first speaks for them. Its parts come in the heads' order.
  const std::vector<std::string> parts =
      communicator.Gather(grid.replica == 0 ? BytesOfTensor(rows.contiguous()) : std::string());
  if (communicator.rank() != 0) return {};
  std::string all;
  for (const std::string& part : parts) all += part;
  std::vector<int64_t> shape = rows.sizes().vec();
  const size_t row_bytes = rows.numel() / rows.size(0) * rows.element_size();
  shape[0] = row_bytes == 0 ? 0 : static_cast<int64_t>(all.size() / row_bytes);
  return TensorFromBytes(all, rows.scalar_type(), shape).value();
}

}  // namespace kvp
