#include "eval/sample_results.h"

namespace kvp {

Results SampleResults() {
  Results results;
  results.model = "tiny <model> & \"sons\"";
  results.model_facts = {"0123abcd", 2, 6, 2, 32, "cpu", "float32"};
  results.traces = 200;
  results.tokens = 200000;
  results.bytes_per_token = 1100.5;
  results.held_out_traces = 40;
  results.corrupt_blocks = 1;
  struct Level {
    const char* policy;
    double cost;
    double at_eighth;
  };
  const std::vector<Level> levels = {{"kvp", 1.2, 0.95},     {"oracle", 1, 0.96},
                                     {"random", 7.9, 0.2},   {"streaming_llm", 8.1, 0.1},
                                     {"k_norm", 10.9, 0.04}, {"key_diff", 3.2, 0.7}};
  for (const Level& level : levels) {
    PolicyOffline offline;
    offline.cost = level.cost;
    offline.cost_standard_error = 0.01;
    offline.cost_interval = {level.cost - 0.02, level.cost + 0.025};
    ByBudget<CacheResult> cells;
    for (double budget : {0.5, 0.25, 0.125, 0.0625}) {
      const double value = 0.96 - (0.96 - level.at_eighth) * (0.125 / budget) * (0.7 + budget);
      offline.retained[budget] = 0.9 * value;
      offline.retained_standard_error[budget] = 0.002;
      offline.retained_interval[budget] = {0.9 * value - 0.004, 0.9 * value + 0.003};
      CacheResult& cell = cells[budget];
      cell.accuracy = budget == 0.125 ? level.at_eighth : value;
      cell.accuracy_standard_error = 0.01;
      cell.correct = static_cast<int64_t>(480 * cell.accuracy);
      cell.questions = 480;
      cell.accuracy_interval = {cell.accuracy - 0.03, cell.accuracy + 0.015};
      cell.tasks = {{"retrieval", cell.accuracy}, {"tracking", 0.5 * cell.accuracy}};
      cell.task_details = {{"retrieval", {{cell.accuracy - 0.04, cell.accuracy + 0.02}, 360}},
                           {"tracking", {{0.4 * cell.accuracy, 0.6 * cell.accuracy}, 120}}};
      cell.task_mean = 0.75 * cell.accuracy;
      cell.nats_per_token = 4 + 0.3 * (1 - value);
      cell.perplexity = 54.6 * (1 + 0.3 * (1 - value));
      cell.nats_standard_error = 0.03;
      cell.nats_over_full_cache = cell.nats_per_token - 4;
      cell.nats_over_full_cache_standard_error = 0.004;
      cell.perplexity_tokens = 3048;
      cell.cache_bytes = budget * 1966080;
      cell.cache_share = budget;
      cell.score_ms = 1.5;
      cell.compact_ms = 0.6;
      cell.decode_ms_per_token = 0.9;
    }
    TaskOffline& task = offline.tasks["retrieval"];
    task.cost = level.cost + 0.25;
    task.cost_interval = {level.cost + 0.2, level.cost + 0.3};
    task.retained = offline.retained;
    task.retained_interval = offline.retained_interval;
    task.traces = 30;
    offline.tasks["text"] = task;
    offline.tasks["text"].cost = level.cost - 0.25 * (level.cost - 1);
    offline.tasks["text"].traces = 10;
    offline.curve = offline.retained;
    offline.curve[1] = 1;
    for (int32_t head = 0; head < 4; ++head) {
      HeadOffline row;
      row.layer = head / 2;
      row.kv_head = head % 2;
      row.cost = level.cost + 0.1 * head;
      row.retained = offline.retained;
      row.traces = 40;
      offline.heads.push_back(row);
    }
    results.offline.emplace_back(level.policy, std::move(offline));
    results.in_model.emplace_back(level.policy, std::move(cells));
  }
  results.full_cache.accuracy = 0.96;
  results.full_cache.correct = 461;
  results.full_cache.questions = 480;
  results.full_cache.accuracy_interval = {0.94, 0.975};
  results.full_cache.tasks = {{"retrieval", 0.96}, {"tracking", 0.9}};
  results.full_cache.task_details = {{"retrieval", {{0.93, 0.98}, 360}},
                                     {"tracking", {{0.85, 0.95}, 120}}};
  results.full_cache.task_mean = 0.93;
  results.full_cache.perplexity = 54.6;
  results.full_cache.nats_per_token = 4;
  results.full_cache.perplexity_tokens = 3048;
  results.full_cache.cache_bytes = 1966080;
  results.full_cache.cache_share = 1;
  results.full_cache.decode_ms_per_token = 1.1;
  results.entries_only = {"kvp", "random", "streaming_llm", "k_norm", "key_diff"};
  results.confidence = 0.95;
  results.bootstrap_resamples = 2000;
  results.seed = 18446744073709551615U;
  results.prompts = 60;
  results.context_tokens = 959.5;
  results.text_windows = 24;
  results.protected_sinks = 4;
  results.protected_recent = 16;
  results.threads = 2;
  results.timing = {{"prefill_ms", 55.5}, {"total_seconds", 40}};
  results.training_json = R"({"steps":600,"loss":{"last":1.25},"ranks":2})";
  results.agents = {{"objective", "exact"}, {"seed", "3"}};
  return results;
}

}  // namespace kvp
