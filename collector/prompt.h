// Prompts as a user writes them: one JSON object a line,
//
//   {"prompt": "The capital of France is", "answer": " Paris."}
//   {"messages": [{"role": "user", "content": "The capital of France?"}], "answer": "Paris."}
//
// "messages" is a conversation for the model's chat template (llm/chat_template.h). "answer" is
// optional: where it is given, it is the continuation (teacher-forced), tokenised by itself, so
// behind a plain prompt it begins with whatever separates it from that. Where it isn't, and the
// last message is the assistant's, that message is the continuation, as the template writes it;
// else the model generates.

#ifndef KVP_COLLECTOR_PROMPT_H_
#define KVP_COLLECTOR_PROMPT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "llm/chat_template.h"

namespace kvp {

struct Prompt {
  std::string text;                   // not empty, unless there are messages
  std::vector<ChatMessage> messages;  // instead of text
  std::optional<std::string> answer;  // not empty
  int64_t line = 0;                   // in its file, from 1
};

// Parses one line. INVALID_ARGUMENT, naming `path`, the line, the field and its value, where it
// isn't JSON, or a field is missing, empty, of another type or unknown, or has no place beside
// another. An answer that is null counts as absent.
absl::StatusOr<Prompt> ParsePrompt(absl::string_view json, const std::string& path, int64_t line);

// Reads a whole file, so that a malformed line is found before any work is done. Blank lines are
// skipped. NOT_FOUND or UNAVAILABLE naming the file; INVALID_ARGUMENT as above, and for a file
// without prompts.
absl::StatusOr<std::vector<Prompt>> ReadPrompts(const std::string& path);

}  // namespace kvp

#endif  // KVP_COLLECTOR_PROMPT_H_
