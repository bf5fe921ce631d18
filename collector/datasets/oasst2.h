// OASST2, the OpenAssistant conversations (Köpf et al. 2023, second release), from the published
// file of trees, 2023-11-05_oasst2_ready.trees.jsonl.gz: one tree of messages a line,
//
//   {"message_tree_id": "…", "tree_state": "ready_for_export", "prompt":
//    {"message_id": "…", "role": "prompter", "text": "…", "lang": "en", "rank": null,
//     "deleted": false, "review_result": true, "replies":
//     [{"message_id": "…", "role": "assistant", "text": "…", "rank": 0, "replies": […]}, …]}}
//
// A tree gives one conversation: from its root always to the best reply (the lowest rank; replies
// without one come after those with; the first of equals), as long as there is one, and cut after
// the assistant's last message. Messages that are deleted or failed their review end it.
//
// Most conversations are a few hundred tokens long. The agents are to see caches of thousands, so
// several conversations, in an order that the seed decides, are put one after another into a
// thread, as if one user had them in one sitting, until it is long enough; the last is cut there,
// and its rest is dropped. No conversation is in two threads.

#ifndef KVP_COLLECTOR_DATASETS_OASST2_H_
#define KVP_COLLECTOR_DATASETS_OASST2_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "collector/datasets/dialogue.h"
#include "collector/prompt_source.h"

namespace kvp {

struct Conversation {
  std::string origin;  // "FILE:LINE"
  // Begins with the user, ends with the assistant; not empty.
  std::vector<DialogueTurn> turns;
};

// Trees in other states than "ready_for_export", and those without an answer, are left out. Errors
// as of ForEachJsonLine (llm/tasks/json_lines.h); INVALID_ARGUMENT naming file, line, field and
// value for a malformed message, for roles that don't take turns, and for a file without any
// conversation.
absl::StatusOr<std::vector<Conversation>> ReadOasst2(const std::string& path);

struct ThreadOptions {
  // Threads, at most; 0: as many as the file makes.
  int64_t count = 0;
  // Order of the conversations.
  uint64_t seed = 0;
  // Tokens of a thread before the prompt's end, and after it. The end may be inside of a message:
  // cuts of dialogues are anywhere.
  int64_t context_tokens = 0;
  int64_t continuation_tokens = 0;
};

// Threads of context_tokens + continuation_tokens tokens (a few less where a conversation costs
// less in a thread than alone, as with a begin-of-sequence token). INVALID_ARGUMENT, naming `path`
// or the option, where the conversations make not one, or fewer than `count`.
absl::StatusOr<std::unique_ptr<PromptSource>> Oasst2Prompts(const std::string& path,
                                                            const ThreadOptions& options,
                                                            EncodeDialogue encode);

}  // namespace kvp

#endif  // KVP_COLLECTOR_DATASETS_OASST2_H_
