// Normalizers of a tokenizer.json: what is done to text before it is split.

#ifndef KVP_LLM_NORMALIZER_H_
#define KVP_LLM_NORMALIZER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/tokenizer_component.h"

namespace kvp {

// Immutable; thread-safe.
class Normalizer {
 public:
  // Understood are
  //   NFC, NFD, NFKC, NFKD   Unicode's normalization forms; bytes that aren't UTF-8 stay
  //   Prepend                puts `prepend` before a text that isn't empty
  //   Replace                puts `content` for each match of `pattern`
  //   Sequence               of `normalizers`
  // UNIMPLEMENTED, naming it, for another; INVALID_ARGUMENT, naming file, field and value, for one
  // that is malformed.
  static absl::StatusOr<std::unique_ptr<Normalizer>> Parse(const TokenizerComponent& component);

  virtual ~Normalizer() = default;

  virtual std::string Normalize(absl::string_view text) const = 0;
  // As Normalize, for text that follows other: nothing is put before it.
  virtual std::string NormalizeContinuation(absl::string_view text) const {
    return Normalize(text);
  }

  // How many times as long a text may get. Parse refuses what is beyond all use.
  virtual double growth() const { return 1; }
};

}  // namespace kvp

#endif  // KVP_LLM_NORMALIZER_H_
