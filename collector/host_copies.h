// Tensors on their way from a device to the host, beside the device's work.

#ifndef KVP_COLLECTOR_HOST_COPIES_H_
#define KVP_COLLECTOR_HOST_COPIES_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "c10/core/Stream.h"

namespace kvp {

// On a GPU, copies go through a stream of their own into pinned memory, so that what is computed
// next runs meanwhile. On the CPU there is nothing to do: tensors come back as they are. Not
// thread-safe. Throws c10::Error.
class HostCopies {
 public:
  // Begins to copy a contiguous tensor that nothing changes any more, once the work queued so far
  // has made it. What is returned can be read after Wait.
  at::Tensor Begin(const at::Tensor& tensor);

  // Waits for all copies begun.
  void Wait();

  // How many were begun, those that a tensor on the CPU didn't need included.
  int64_t begun() const { return begun_; }

 private:
  c10::Stream StreamOf(at::Device device);

  std::vector<c10::Stream> streams_;  // one a device
  int64_t begun_ = 0;
};

}  // namespace kvp

#endif  // KVP_COLLECTOR_HOST_COPIES_H_
