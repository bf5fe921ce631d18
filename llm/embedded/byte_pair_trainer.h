// Trains a byte-level BPE vocabulary (as GPT-2's) and writes it as a
// tokenizer.json of Hugging Face's `tokenizers`.
//
// Token ids: 0 is the special token <|endoftext|>, 1..256 are the bytes in
// order, then one token for each merge in the order learnt.

#ifndef KVP_LLM_EMBEDDED_BYTE_PAIR_TRAINER_H_
#define KVP_LLM_EMBEDDED_BYTE_PAIR_TRAINER_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kvp {

inline constexpr int kEndOfTextId = 0;
inline constexpr int kFirstByteId = 1;
inline constexpr int kFirstMergeId = 257;

struct BytePairVocabulary {
  // The two tokens that merge i joins into token kFirstMergeId + i.
  std::vector<std::pair<int, int>> merges;

  int size() const { return kFirstMergeId + static_cast<int>(merges.size()); }
};

// Learns merges from `text`, within the pieces that GPT-2's regular expression
// splits it into, until the vocabulary has `size` tokens or no pair
// occurs twice. `forced_pieces` (each of two bytes, say " ;") become the first
// merges whether or not the text has them. Deterministic: of equally frequent
// pairs the one with the smaller ids comes first. INVALID_ARGUMENT if `size`
// doesn't hold the bytes and the forced pieces.
absl::StatusOr<BytePairVocabulary> TrainBytePairs(absl::string_view text, int size,
                                                  const std::vector<std::string>& forced_pieces);

// The bytes that token `id` stands for.
std::string TokenBytes(const BytePairVocabulary& vocabulary, int id);

// A tokenizer.json with this vocabulary: ByteLevel pre-tokenizer with GPT-2's
// regular expression, without prefix space; ByteLevel decoder.
std::string TokenizerJson(const BytePairVocabulary& vocabulary);

}  // namespace kvp

#endif  // KVP_LLM_EMBEDDED_BYTE_PAIR_TRAINER_H_
