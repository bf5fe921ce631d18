#include "llm/tasks/noise_lines.h"

#include <utility>

namespace kvp {

std::vector<std::string> InsertLines(const std::vector<std::string>& insertions,
                                     std::vector<std::string> lines, SplitMix64* random) {
  const std::vector<size_t> places = random->Subset(lines.size(), insertions.size());
  std::vector<std::string> result;
  result.reserve(lines.size() + insertions.size());
  size_t next = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (next < places.size() && places[next] == i) result.push_back(insertions[next++]);
    result.push_back(std::move(lines[i]));
  }
  return result;
}

}  // namespace kvp
