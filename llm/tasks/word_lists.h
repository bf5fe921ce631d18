// English words, and words that look like some, for tasks that need many different ones.
//
// RULER draws from the lists of a Python package. These are our own: so a task is of the same kind,
// but not the same task. Adjectives times nouns make over 200,000 keys such as "brave-lantern".
// Where a list of single words has to be longer than the plain ones, it is made of 81,000 words of
// two syllables such as "bakem"; RULER, too, goes over to another list there.

#ifndef KVP_LLM_TASKS_WORD_LISTS_H_
#define KVP_LLM_TASKS_WORD_LISTS_H_

#include <string>
#include <vector>

namespace kvp {

// Each sorted, without repetition, of lower-case ASCII letters only.
const std::vector<std::string>& Adjectives();
const std::vector<std::string>& Nouns();
// Adjectives and nouns.
const std::vector<std::string>& PlainWords();
// Consonant, vowel, consonant, vowel, consonant.
const std::vector<std::string>& SyllableWords();

}  // namespace kvp

#endif  // KVP_LLM_TASKS_WORD_LISTS_H_
