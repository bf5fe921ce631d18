// What the thread sanitizer is not to report: accesses that libraries order by atomics that it
// doesn't see, as they aren't built for it. In the program itself, so that a test needs no file.

extern "C" const char* __tsan_default_suppressions() {
  return
      // Write groups of RocksDB hand over batches through atomics.
      "called_from_lib:librocksdb.so\n"
      // Completion queues and callbacks of gRPC: lock-free queues.
      "called_from_lib:libgrpc.so\n"
      "called_from_lib:libgrpc++.so\n";
}
