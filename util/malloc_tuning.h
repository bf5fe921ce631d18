// glibc's malloc for processes that pass large buffers through: gRPC messages, RocksDB batches,
// blocks.

#ifndef KVP_UTIL_MALLOC_TUNING_H_
#define KVP_UTIL_MALLOC_TUNING_H_

namespace kvp {

// Keeps freed memory, and takes buffers of up to 32 MiB from the heap rather than from fresh pages
// of the system, whose page faults cost more than copying the data. The process's memory stays at
// its peak. To be called first thing in main.
void TuneMallocForLargeBuffers();

}  // namespace kvp

#endif  // KVP_UTIL_MALLOC_TUNING_H_
