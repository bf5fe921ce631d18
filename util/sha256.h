// SHA-256 (FIPS 180-4): fingerprints of models and ids of traces.

#ifndef KVP_UTIL_SHA256_H_
#define KVP_UTIL_SHA256_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace kvp {

// Hashes what is added, piece by piece. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  // Pieces are hashed as if concatenated.
  void Update(absl::string_view bytes);
  // Adds the length as 8 little-endian bytes, then the bytes: so that no two sequences of strings
  // hash alike.
  void UpdateWithLength(absl::string_view bytes);

  // The hash. Call it once; nothing can be added after it.
  std::array<uint8_t, 32> Finish();
  // As 64 lower-case hexadecimal digits.
  std::string FinishHex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The hash of `bytes`, as 64 lower-case hexadecimal digits.
std::string Sha256Hex(absl::string_view bytes);

}  // namespace kvp

#endif  // KVP_UTIL_SHA256_H_
