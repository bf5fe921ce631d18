// WordTokenizer: a tokenizer for tests that needs no file. A token is a word with the spaces before
// it.

#ifndef KVP_COLLECTOR_TEST_TOKENIZER_H_
#define KVP_COLLECTOR_TEST_TOKENIZER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "llm/tokenizer.h"

namespace kvp {

// The id of a word is the sum of its bytes modulo vocab_size; id 0 stands before every sequence
// where with_begin is set. Tokens can't be decoded.
class WordTokenizer : public Tokenizer {
 public:
  explicit WordTokenizer(int64_t vocab_size, bool with_begin = false)
      : vocab_size_(vocab_size), with_begin_(with_begin) {}

  std::vector<int32_t> Encode(absl::string_view text) const override {
    std::vector<int32_t> ids;
    for (size_t begin = 0; begin < text.size();) {
      size_t end = text.find_first_not_of(' ', begin);
      end = end == absl::string_view::npos ? end : text.find(' ', end);
      const absl::string_view word = text.substr(begin, end - begin);
      int64_t sum = 0;
      for (const char c : word) sum += static_cast<unsigned char>(c);
      ids.push_back(static_cast<int32_t>(sum % vocab_size_));
      begin = end == absl::string_view::npos ? text.size() : end;
    }
    return ids;
  }
  std::vector<int32_t> EncodeSequence(absl::string_view text) const override {
    std::vector<int32_t> ids = Encode(text);
    if (with_begin_) ids.insert(ids.begin(), 0);
    return ids;
  }
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids) const override {
    return absl::UnimplementedError("a word's id doesn't tell the word");
  }
  int64_t vocab_size() const override { return vocab_size_; }

 private:
  const int64_t vocab_size_;
  const bool with_begin_;
};

}  // namespace kvp

#endif  // KVP_COLLECTOR_TEST_TOKENIZER_H_
