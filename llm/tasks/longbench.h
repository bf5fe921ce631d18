// Two tasks of LongBench (Bai et al. 2024), from its published JSON lines:
//
//   {"input": "…", "context": "…", "answers": ["…"], "length": 9000, "dataset": "gov_report",
//    "language": "en", "all_classes": null, "_id": "…"}

#ifndef KVP_LLM_TASKS_LONGBENCH_H_
#define KVP_LLM_TASKS_LONGBENCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llm/tasks/task_prompt.h"

namespace kvp {

// passage_retrieval_en.jsonl: which of 30 paragraphs an abstract is of. Answer: "Paragraph 15".
// The prompts are LongBench's. Fields other than input, context, answers and dataset are ignored.
// Errors as of ForEachJsonLine; INVALID_ARGUMENT naming file, line, field and value, also for a
// line of another LongBench dataset. (LongBench-E's names, with "_e" at the end, are accepted.)
absl::StatusOr<std::vector<TaskPrompt>> ReadPassageRetrieval(const std::string& path);

// gov_report.jsonl: the summary of a report. As above; input may be empty or missing.
absl::StatusOr<std::vector<TaskPrompt>> ReadGovReport(const std::string& path);

}  // namespace kvp

#endif  // KVP_LLM_TASKS_LONGBENCH_H_
