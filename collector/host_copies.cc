#include "collector/host_copies.h"

#include "ATen/ATen.h"
#include "c10/core/Event.h"
#include "c10/core/StreamGuard.h"
#include "c10/core/impl/VirtualGuardImpl.h"

namespace kvp {

at::Tensor HostCopies::Begin(const at::Tensor& tensor) {
  ++begun_;
  if (tensor.is_cpu()) return tensor;
  const at::Device device = tensor.device();
  const c10::impl::VirtualGuardImpl implementation(device.type());
  const c10::Stream stream = StreamOf(device);
  c10::Event made(device.type());
  made.record(implementation.getStream(device));
  made.block(stream);
  const at::Tensor host = at::empty(
      tensor.sizes(), at::TensorOptions().dtype(tensor.scalar_type()).pinned_memory(true));
  {
    const c10::StreamGuard on_stream(stream);
    host.copy_(tensor, /*non_blocking=*/true);
  }
  // The allocator doesn't give the tensor's memory to others before the copy has read it.
  tensor.record_stream(stream);
  return host;
}

void HostCopies::Wait() {
  for (const c10::Stream& stream : streams_) stream.synchronize();
}

c10::Stream HostCopies::StreamOf(at::Device device) {
  for (const c10::Stream& stream : streams_) {
    if (stream.device() == device) return stream;
  }
  streams_.push_back(c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device));
  return streams_.back();
}

}  // namespace kvp
