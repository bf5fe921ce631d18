#include "llm/tasks/needle_task.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "llm/tasks/noise_lines.h"
#include "llm/tasks/word_lists.h"
#include "util/split_mix64.h"

namespace kvp {
namespace {

using Haystack = NeedleTask::Haystack;
using Kind = NeedleTask::Kind;

constexpr int kDepths = 40;

std::string RandomUuid(SplitMix64* random) {
  uint64_t high = random->Next();
  uint64_t low = random->Next();
  high = (high & ~uint64_t{0xF000}) | 0x4000;                      // version 4: random
  low = (low & ~(uint64_t{0xC0} << 56)) | (uint64_t{0x80} << 56);  // RFC 4122's variant
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xFFFF,
                         high & 0xFFFF, low >> 48, low & 0xFFFFFFFFFFFF);
}

std::string RandomItem(Kind kind, SplitMix64* random) {
  switch (kind) {
    case Kind::kWords: {
      const std::string& adjective = Adjectives()[random->Below(Adjectives().size())];
      return absl::StrCat(adjective, "-", Nouns()[random->Below(Nouns().size())]);
    }
    case Kind::kNumbers:
      return absl::StrCat(1000000 + random->Below(9000000));
    case Kind::kUuids:
      return RandomUuid(random);
  }
  return "";
}

// An item that isn't used yet.
std::string NewItem(Kind kind, SplitMix64* random, absl::flat_hash_set<std::string>* used) {
  while (true) {
    std::string item = RandomItem(kind, random);
    if (used->insert(item).second) return item;
  }
}

// "numbers", or "number" where one is asked for.
std::string NameOf(Kind kind, bool single) {
  const std::string name = kind == Kind::kWords     ? "word"
                           : kind == Kind::kNumbers ? "number"
                                                    : "uuid";
  return single ? name : name + "s";
}

std::string Needle(const NeedleTask& task, const std::string& key, const std::string& value) {
  return absl::StrCat("One of the special magic ", NameOf(task.value, /*single=*/false), " for ",
                      key, " is: ", value, ".");
}

// "a", "a, and b", "a, b, and c".
std::string Enumerated(const std::vector<std::string>& items) {
  if (items.size() == 1) return items[0];
  const std::vector<std::string> first(items.begin(), items.end() - 1);
  return absl::StrCat(absl::StrJoin(first, ", "), ", and ", items.back());
}

std::string EssayContext(const Essay& essay, const std::vector<std::string>& needles, int64_t size,
                         uint64_t start_seed, SplitMix64* places) {
  const std::vector<std::string> sentences =
      essay.Sentences(SplitMix64(start_seed).Below(essay.size()), size);
  const std::vector<size_t> depths = places->Subset(kDepths, needles.size());
  std::vector<std::string> pieces;
  size_t next = 0;
  for (size_t i = 0; i <= sentences.size(); ++i) {
    for (; next < needles.size(); ++next) {
      // Depth number j is j/39 of the text, in whole per cent.
      const size_t percent = (200 * depths[next] + kDepths - 1) / (2 * (kDepths - 1));
      if (sentences.size() * percent / 100 != i) break;
      pieces.push_back(needles[next]);
    }
    if (i < sentences.size()) pieces.push_back(sentences[i]);
  }
  return absl::StrJoin(pieces, " ");
}

}  // namespace

TaskPrompt NeedlePrompt(const NeedleTask& task, const Essay* essay, uint64_t seed, int64_t size) {
  SplitMix64 seeds(seed);
  SplitMix64 random(seeds.Next());
  SplitMix64 places(seeds.Next());
  const uint64_t haystack_seed = seeds.Next();

  absl::flat_hash_set<std::string> used_keys, used_values;
  std::vector<std::string> keys, needles;
  std::vector<std::vector<std::string>> values(task.keys);
  for (int i = 0; i < task.keys; ++i) {
    keys.push_back(NewItem(task.key, &random, &used_keys));
    for (int j = 0; j < task.values_per_key; ++j) {
      values[i].push_back(NewItem(task.value, &random, &used_values));
      needles.push_back(Needle(task, keys[i], values[i].back()));
    }
  }
  random.Shuffle(&needles);
  std::vector<int> asked(task.keys);
  for (int i = 0; i < task.keys; ++i) asked[i] = i;
  random.Shuffle(&asked);
  asked.resize(task.queries);

  std::string context;
  if (task.haystack == Haystack::kEssay) {
    context = EssayContext(*essay, needles, size, haystack_seed, &places);
  } else {
    std::vector<std::string> lines(size, kNoiseLine);
    if (task.haystack == Haystack::kNeedles) {
      SplitMix64 distractors(haystack_seed);
      for (std::string& line : lines) {
        const std::string key = NewItem(task.key, &distractors, &used_keys);
        std::string value;
        do {
          value = RandomItem(task.value, &distractors);
        } while (used_values.contains(value));
        line = Needle(task, key, value);
      }
    }
    context = absl::StrJoin(InsertLines(needles, std::move(lines), &places), "\n");
  }

  TaskPrompt prompt;
  std::vector<std::string> queries;
  for (const int i : asked) {
    queries.push_back(keys[i]);
    prompt.references.insert(prompt.references.end(), values[i].begin(), values[i].end());
  }
  const bool single = prompt.references.size() == 1;
  const std::string name = NameOf(task.value, single);
  const std::string query = Enumerated(queries);
  prompt.input = absl::StrCat(
      single ? "A" : "Some", " special magic ", name, single ? " is" : " are",
      " hidden within the following text. Make sure to memorize it. I will quiz you about the ",
      name, " afterwards.\n", context, "\nWhat ", single ? "is" : "are all", " the special magic ",
      name, " for ", query, " mentioned in the provided text?");
  prompt.answer_prefix = absl::StrCat(" The special magic ", name, " for ", query,
                                      " mentioned in the provided text ", single ? "is" : "are");
  prompt.answer = absl::StrCat(" ", absl::StrJoin(prompt.references, ", "));
  prompt.metric = TaskMetric::kAllReferences;
  prompt.max_new_tokens = 128;
  return prompt;
}

int64_t MaxNeedleSize(const NeedleTask& task) {
  if (task.haystack != Haystack::kNeedles || task.key != Kind::kWords) {
    return std::numeric_limits<int32_t>::max();
  }
  // Far from all pairs, or drawing new ones would take long.
  return static_cast<int64_t>(Adjectives().size() * Nouns().size() / 2);
}

}  // namespace kvp
