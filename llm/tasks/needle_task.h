// RULER's needle-in-a-haystack tasks: sentences that give a key a value, hidden in a haystack; the
// question asks for the values of some keys.
//
//   One of the special magic numbers for brave-lantern is: 1234567.

#ifndef KVP_LLM_TASKS_NEEDLE_TASK_H_
#define KVP_LLM_TASKS_NEEDLE_TASK_H_

#include <cstdint>

#include "llm/tasks/essay.h"
#include "llm/tasks/task_prompt.h"

namespace kvp {

struct NeedleTask {
  enum class Haystack {
    kNoise,    // one line of five short sentences, repeated
    kEssay,    // natural text
    kNeedles,  // needles that nobody asks for
  };
  enum class Kind {
    kWords,    // adjective-noun
    kNumbers,  // seven digits
    kUuids,    // random (version 4)
  };

  Haystack haystack = Haystack::kNoise;
  Kind key = Kind::kWords;
  Kind value = Kind::kNumbers;
  int keys = 1;
  int values_per_key = 1;
  int queries = 1;  // at most `keys`
};

// The prompt with `size` lines of haystack, or words for an essay; what is asked and answered
// depends on the seed alone. In an essay, needles stand after the sentences at some of 40 evenly
// spread depths from 0 to 100 %; else before random lines. All keys, and all values asked for, are
// different; no other needle has one of them. size >= the number of needles; `essay` may be null
// for the other haystacks. Sets everything but task and origin.
TaskPrompt NeedlePrompt(const NeedleTask& task, const Essay* essay, uint64_t seed, int64_t size);

// The largest size that there are different keys for.
int64_t MaxNeedleSize(const NeedleTask& task);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_NEEDLE_TASK_H_
