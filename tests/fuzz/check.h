// What a fuzz target holds a decoder to.

#ifndef KVP_TESTS_FUZZ_CHECK_H_
#define KVP_TESTS_FUZZ_CHECK_H_

#include <cstdio>
#include <cstdlib>

// Ends the process, which a fuzzer takes for a finding, unless `condition` holds.
#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

#endif  // KVP_TESTS_FUZZ_CHECK_H_
