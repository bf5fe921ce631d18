#include "collector/datasets/oasst2.h"

#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "llm/json_fields.h"
#include "llm/tasks/json_lines.h"
#include "nlohmann/json.hpp"
#include "util/split_mix64.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

using Json = nlohmann::json;

constexpr int64_t kNoRank = std::numeric_limits<int64_t>::max();

// Whether the message may be used: it is neither deleted nor rejected.
absl::StatusOr<bool> IsUsable(const JsonFields& message) {
  ASSIGN_OR_RETURN(const bool deleted, message.BoolOr("deleted", false));
  ASSIGN_OR_RETURN(const bool reviewed, message.BoolOr("review_result", true));
  return !deleted && reviewed;
}

// The best usable reply; null where there is none. `prefix` becomes its field prefix.
absl::StatusOr<const Json*> BestReply(const JsonFields& message, const std::string& place,
                                      std::string* prefix) {
  const Json* replies = message.Find("replies");
  if (replies == nullptr || (replies->is_array() && replies->empty())) return nullptr;
  ASSIGN_OR_RETURN(replies, ObjectArray(message, "replies"));
  const Json* best = nullptr;
  int64_t best_rank = 0;
  std::string best_prefix;
  for (size_t i = 0; i < replies->size(); ++i) {
    const std::string reply_prefix = absl::StrCat(*prefix, "replies[", i, "].");
    const JsonFields reply((*replies)[i], place, reply_prefix);
    ASSIGN_OR_RETURN(const bool usable, IsUsable(reply));
    if (!usable) continue;
    int64_t rank = kNoRank;
    if (reply.has("rank")) {
      ASSIGN_OR_RETURN(rank, reply.Integer("rank", 0, std::numeric_limits<int32_t>::max()));
    }
    if (best == nullptr || rank < best_rank) {
      best = &(*replies)[i];
      best_rank = rank;
      best_prefix = reply_prefix;
    }
  }
  *prefix = std::move(best_prefix);
  return best;
}

// The conversation of one tree; without turns where it has no answer.
absl::StatusOr<Conversation> BestConversation(const Json& tree, const std::string& place) {
  Conversation conversation;
  conversation.origin = place;
  const JsonFields fields(tree, place);
  ASSIGN_OR_RETURN(const std::string state, fields.String("tree_state"));
  if (state != "ready_for_export") return conversation;
  const Json* message = fields.Find("prompt");
  if (message == nullptr || !message->is_object()) {
    return fields.Invalid("prompt", "the tree's first message is needed, an object");
  }
  std::string prefix = "prompt.";
  ASSIGN_OR_RETURN(const bool usable, IsUsable(JsonFields(*message, place, prefix)));
  if (!usable) return conversation;
  while (message != nullptr) {
    const JsonFields message_fields(*message, place, prefix);
    const bool user = conversation.turns.size() % 2 == 0;
    ASSIGN_OR_RETURN(const std::string role, message_fields.String("role"));
    if (role != (user ? "prompter" : "assistant")) {
      return message_fields.Invalid(
          "role", absl::StrCat("it must be \"", user ? "prompter" : "assistant", "\" there"));
    }
    ASSIGN_OR_RETURN(std::string text, NonEmptyString(message_fields, "text"));
    conversation.turns.push_back({user ? "user" : "assistant", std::move(text)});
    ASSIGN_OR_RETURN(message, BestReply(message_fields, place, &prefix));
  }
  if (conversation.turns.size() % 2 == 1) conversation.turns.pop_back();
  return conversation;
}

class ThreadSource : public PromptSource {
 public:
  struct Thread {
    size_t begin = 0, end = 0;  // of the conversations
  };

  ThreadSource(std::vector<Conversation> conversations, std::vector<Thread> threads,
               ThreadOptions options, EncodeDialogue encode)
      : conversations_(std::move(conversations)),
        threads_(std::move(threads)),
        options_(options),
        encode_(std::move(encode)) {}

  int64_t size() const override { return static_cast<int64_t>(threads_.size()); }
  const std::string& task() const override { return task_; }

  absl::StatusOr<TokenizedPrompt> Get(int64_t index) const override {
    const Thread& thread = threads_[index];
    std::vector<DialogueTurn> turns;
    for (size_t i = thread.begin; i < thread.end; ++i) {
      const std::vector<DialogueTurn>& more = conversations_[i].turns;
      turns.insert(turns.end(), more.begin(), more.end());
    }
    TokenizedPrompt tokenized;
    tokenized.origin = absl::StrCat(conversations_[thread.begin].origin, " and ",
                                    thread.end - thread.begin - 1, " more");
    ASSIGN_OR_RETURN(std::vector<int32_t> tokens, encode_(turns));
    const size_t window = options_.context_tokens + options_.continuation_tokens;
    if (tokens.size() > window) tokens.resize(window);
    if (static_cast<int64_t>(tokens.size()) <= options_.continuation_tokens) {
      return absl::InvalidArgumentError(
          absl::StrCat(tokenized.origin, ": ", tokens.size(), " tokens, too few for a prompt and ",
                       options_.continuation_tokens, " tokens after it"));
    }
    const auto cut = tokens.end() - options_.continuation_tokens;
    tokenized.prompt.assign(tokens.begin(), cut);
    tokenized.continuation.assign(cut, tokens.end());
    return tokenized;
  }

 private:
  const std::string task_ = "oasst2";
  const std::vector<Conversation> conversations_;  // in the order of the threads
  const std::vector<Thread> threads_;
  const ThreadOptions options_;
  const EncodeDialogue encode_;
};

}  // namespace

absl::StatusOr<std::vector<Conversation>> ReadOasst2(const std::string& path) {
  std::vector<Conversation> conversations;
  RETURN_IF_ERROR(
      ForEachJsonLine(path, [&](const Json& tree, const std::string& place) -> absl::Status {
        ASSIGN_OR_RETURN(Conversation conversation, BestConversation(tree, place));
        if (!conversation.turns.empty()) conversations.push_back(std::move(conversation));
        return absl::OkStatus();
      }));
  if (conversations.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no tree that is ready_for_export and has an answer"));
  }
  return conversations;
}

absl::StatusOr<std::unique_ptr<PromptSource>> Oasst2Prompts(const std::string& path,
                                                            const ThreadOptions& options,
                                                            EncodeDialogue encode) {
  RETURN_IF_ERROR(CheckOption("count", options.count, 0));
  RETURN_IF_ERROR(CheckOption("context_tokens", options.context_tokens, 1));
  RETURN_IF_ERROR(CheckOption("continuation_tokens", options.continuation_tokens, 1));
  ASSIGN_OR_RETURN(std::vector<Conversation> conversations, ReadOasst2(path));
  SplitMix64(options.seed).Shuffle(&conversations);

  const int64_t window = options.context_tokens + options.continuation_tokens;
  std::vector<ThreadSource::Thread> threads;
  int64_t all_tokens = 0;
  int64_t tokens = 0;
  size_t begin = 0;
  for (size_t i = 0; i < conversations.size(); ++i) {
    if (options.count > 0 && static_cast<int64_t>(threads.size()) == options.count) break;
    ASSIGN_OR_RETURN(const std::vector<int32_t> encoded, encode(conversations[i].turns));
    tokens += static_cast<int64_t>(encoded.size());
    all_tokens += static_cast<int64_t>(encoded.size());
    if (tokens < window) continue;
    threads.push_back({begin, i + 1});
    begin = i + 1;
    tokens = 0;
  }
  const int64_t wanted = options.count > 0 ? options.count : 1;
  if (static_cast<int64_t>(threads.size()) < wanted) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": ", conversations.size(), " conversations of ", all_tokens, " tokens make ",
        threads.size(), " threads of ", window, " tokens, ", wanted, " are asked for"));
  }
  return std::make_unique<ThreadSource>(std::move(conversations), std::move(threads), options,
                                        std::move(encode));
}

}  // namespace kvp
