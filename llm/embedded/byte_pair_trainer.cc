#include "llm/embedded/byte_pair_trainer.h"

#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "llm/byte_level.h"
#include "llm/regex_splitter.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr char kEndOfText[] = "<|endoftext|>";

int ByteId(char byte) { return kFirstByteId + static_cast<uint8_t>(byte); }

// Replaces every occurrence of `pair` by `merged`, left to right.
void MergePair(const std::pair<int, int>& pair, int merged, std::vector<int32_t>* symbols) {
  size_t out = 0;
  for (size_t in = 0; in < symbols->size(); ++in, ++out) {
    if (in + 1 < symbols->size() && (*symbols)[in] == pair.first &&
        (*symbols)[in + 1] == pair.second) {
      (*symbols)[out] = merged;
      ++in;
    } else {
      (*symbols)[out] = (*symbols)[in];
    }
  }
  symbols->resize(out);
}

bool HasPair(const std::vector<int32_t>& symbols, const std::pair<int, int>& pair) {
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    if (symbols[i] == pair.first && symbols[i + 1] == pair.second) return true;
  }
  return false;
}

// A token's bytes as a JSON string's content.
std::string SpelledForJson(absl::string_view bytes) {
  return absl::StrReplaceAll(ByteLevelOfBytes(bytes), {{"\"", "\\\""}, {"\\", "\\\\"}});
}

}  // namespace

absl::StatusOr<BytePairVocabulary> TrainBytePairs(absl::string_view text, int size,
                                                  const std::vector<std::string>& forced_pieces) {
  if (size < kFirstMergeId + static_cast<int>(forced_pieces.size())) {
    return absl::InvalidArgumentError(absl::StrCat("vocabulary of ", size, " tokens: too small"));
  }
  struct Word {
    std::vector<int32_t> symbols;
    int64_t count;
  };
  absl::flat_hash_map<absl::string_view, int64_t> word_counts;
  ASSIGN_OR_RETURN(const auto splitter, RegexSplitter::Create(kGpt2Pattern));
  splitter->Split(text, [&](absl::string_view piece, bool is_match) { ++word_counts[piece]; });
  std::vector<Word> words;
  for (const auto& [piece, count] : word_counts) {
    Word word;
    word.count = count;
    for (char c : piece) word.symbols.push_back(ByteId(c));
    words.push_back(std::move(word));
  }

  absl::flat_hash_map<std::pair<int, int>, int64_t> pair_counts;
  const auto count_pairs = [&pair_counts](const Word& word, int64_t sign) {
    for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      pair_counts[{word.symbols[i], word.symbols[i + 1]}] += sign * word.count;
    }
  };
  for (const Word& word : words) count_pairs(word, 1);

  BytePairVocabulary vocabulary;
  const auto add_merge = [&](const std::pair<int, int>& pair) {
    const int merged = vocabulary.size();
    vocabulary.merges.push_back(pair);
    for (Word& word : words) {
      if (!HasPair(word.symbols, pair)) continue;
      count_pairs(word, -1);
      MergePair(pair, merged, &word.symbols);
      count_pairs(word, 1);
    }
    pair_counts.erase(pair);
  };
  for (const std::string& piece : forced_pieces) {
    if (piece.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("forced piece '", piece, "' hasn't two bytes"));
    }
    add_merge({ByteId(piece[0]), ByteId(piece[1])});
  }
  while (vocabulary.size() < size) {
    std::pair<int, int> best;
    int64_t best_count = 1;
    for (const auto& [pair, count] : pair_counts) {
      if (count > best_count || (count == best_count && pair < best)) {
        best = pair;
        best_count = count;
      }
    }
    if (best_count < 2) break;
    add_merge(best);
  }
  return vocabulary;
}

std::string TokenBytes(const BytePairVocabulary& vocabulary, int id) {
  if (id == kEndOfTextId) return kEndOfText;
  if (id < kFirstMergeId) {
    return std::string(1, static_cast<char>(id - kFirstByteId));
  }
  const auto& [left, right] = vocabulary.merges[id - kFirstMergeId];
  return TokenBytes(vocabulary, left) + TokenBytes(vocabulary, right);
}

std::string TokenizerJson(const BytePairVocabulary& vocabulary) {
  std::vector<std::string> entries = {absl::StrCat("\"", kEndOfText, "\": ", kEndOfTextId)};
  for (int id = kFirstByteId; id < vocabulary.size(); ++id) {
    entries.push_back(absl::StrCat("\"", SpelledForJson(TokenBytes(vocabulary, id)), "\": ", id));
  }
  std::vector<std::string> merges;
  for (const auto& [left, right] : vocabulary.merges) {
    merges.push_back(absl::StrCat("\"", SpelledForJson(TokenBytes(vocabulary, left)), " ",
                                  SpelledForJson(TokenBytes(vocabulary, right)), "\""));
  }
  return absl::StrCat(
      R"({
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [
    {
      "id": )",
      kEndOfTextId, R"(,
      "content": ")",
      kEndOfText, R"(",
      "single_word": false,
      "lstrip": false,
      "rstrip": false,
      "normalized": false,
      "special": true
    }
  ],
  "normalizer": null,
  "pre_tokenizer": {
    "type": "ByteLevel",
    "add_prefix_space": false,
    "trim_offsets": true,
    "use_regex": true
  },
  "post_processor": null,
  "decoder": {
    "type": "ByteLevel",
    "add_prefix_space": false,
    "trim_offsets": true,
    "use_regex": true
  },
  "model": {
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "vocab": {
      )",
      absl::StrJoin(entries, ",\n      "), R"(
    },
    "merges": [
      )",
      absl::StrJoin(merges, ",\n      "), R"(
    ]
  }
}
)");
}

}  // namespace kvp
