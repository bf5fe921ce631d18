// Post-processors of a tokenizer.json: the special tokens around a text, as a begin-of-sequence
// token.

#ifndef KVP_LLM_POST_PROCESSOR_H_
#define KVP_LLM_POST_PROCESSOR_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "llm/tokenizer_component.h"

namespace kvp {

struct PostProcessor {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};

// Understood are TemplateProcessing (its "single" form), BertProcessing and RobertaProcessing
// (`cls` and `sep` around the text), ByteLevel (which only trims offsets: no tokens) and Sequence
// of `processors`, each of which works on what the one before has made. `is_known` says whether an
// id is in the vocabulary. UNIMPLEMENTED, naming it, for another; INVALID_ARGUMENT, naming file,
// field and value, for one that is malformed.
absl::StatusOr<PostProcessor> ParsePostProcessor(const TokenizerComponent& component,
                                                 absl::FunctionRef<bool(int64_t id)> is_known);

}  // namespace kvp

#endif  // KVP_LLM_POST_PROCESSOR_H_
