// KVP_VECTOR_CLONES before a function: compiled once for each width of the processor's vectors; the
// best version is chosen when the program starts. Give the file's target -O3.

#ifndef KVP_UTIL_VECTOR_CLONES_H_
#define KVP_UTIL_VECTOR_CLONES_H_

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KVP_VECTOR_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KVP_VECTOR_CLONES
#endif

#endif  // KVP_UTIL_VECTOR_CLONES_H_
