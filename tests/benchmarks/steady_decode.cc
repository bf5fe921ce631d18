#include "tests/benchmarks/steady_decode.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "eval/fixed_budget.h"
#include "llm/kv_cache.h"
#include "policy/agent_file.h"
#include "policy/agent_network.h"
#include "util/median.h"
#include "util/status_macros.h"

namespace kvp {
namespace {

constexpr int64_t kRandomEvery = 16;

double ProcessCpuMilliseconds() {
  timespec time = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
}

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0;
  int64_t resident = 0;
  statm >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace

absl::StatusOr<std::vector<DecodeSegment>> MeasureSteadyDecode(const Decoder& decoder,
                                                               const Policy& policy,
                                                               int64_t budget_tokens,
                                                               int64_t tokens, int64_t segments) {
  const int64_t first = 2 * budget_tokens;
  if (segments < 1 || tokens < first + segments) {
    return absl::InvalidArgumentError(absl::StrCat(tokens, " tokens don't make ", segments,
                                                   " segments behind the first ", first));
  }
  FixedBudget::Options options;
  options.budget_tokens = budget_tokens;
  options.rope_frequencies = decoder.rope_frequencies();
  ASSIGN_OR_RETURN(FixedBudget budget, FixedBudget::Create(&policy, std::move(options)));
  KvCache cache = decoder.NewCache();
  std::mt19937_64 random(1);
  std::vector<DecodeSegment> result;
  std::vector<double> milliseconds;
  std::vector<double> cpu_milliseconds;
  milliseconds.reserve(static_cast<size_t>(tokens));
  cpu_milliseconds.reserve(static_cast<size_t>(tokens));
  int32_t token = 1;
  for (int64_t i = 0; i < tokens; ++i) {
    const absl::Time begin = absl::Now();
    const double cpu_begin = ProcessCpuMilliseconds();
    ASSIGN_OR_RETURN(const at::Tensor logits, decoder.Forward({token}, cache, {}));
    RETURN_IF_ERROR(budget.Update(cache));
    token = static_cast<int32_t>(i % kRandomEvery == 0
                                     ? random() % static_cast<uint64_t>(decoder.config().vocab_size)
                                     : static_cast<uint64_t>(logits.argmax().item<int64_t>()));
    if (i < first) continue;
    milliseconds.push_back(absl::ToDoubleMilliseconds(absl::Now() - begin));
    cpu_milliseconds.push_back(ProcessCpuMilliseconds() - cpu_begin);
    const int64_t done = i + 1 - first;
    if (done * segments / (tokens - first) == static_cast<int64_t>(result.size())) continue;
    result.push_back(
        {Median(milliseconds), Median(cpu_milliseconds), ResidentBytes(), cache.allocated_bytes()});
    milliseconds.clear();
    cpu_milliseconds.clear();
  }
  return result;
}

absl::Status SaveUntrainedAgents(const Decoder& decoder, const std::string& path) {
  const ModelConfig& config = decoder.config();
  AgentFile agents;
  agents.shape.head_dim = config.head_dim;
  agents.shape.rope_frequencies = decoder.rope_frequencies();
  agents.layers = config.layers;
  agents.kv_heads = config.kv_heads;
  agents.model_fingerprint = decoder.fingerprint();
  agents.parameters = InitialParameters(agents.shape, 0, config.layers * config.kv_heads, 1);
  return SaveAgents(path, agents);
}

}  // namespace kvp
