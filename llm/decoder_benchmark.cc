// Speed of prefill and decode, uniform and ragged, on a random model of the embedded model's
// geometry (1.8 M parameters), with one thread.

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/ops/empty.h"
#include "benchmark/benchmark.h"
#include "llm/decoder.h"
#include "llm/tiny_model.h"
#include "util/malloc_tuning.h"

namespace kvp {
namespace {

constexpr int kContext = 1024;

const Decoder& GetDecoder() {
  static const std::unique_ptr<Decoder> decoder = [] {
    at::set_num_threads(1);
    TinyModelOptions options;
    options.vocab_size = 1024;
    options.hidden_size = 192;
    options.intermediate_size = 512;
    options.layers = 4;
    options.query_heads = 6;
    options.kv_heads = 2;
    options.head_dim = 32;
    options.tied = true;
    const std::string directory =
        std::filesystem::temp_directory_path() / ("decoder_benchmark." + std::to_string(getpid()));
    (void)WriteTinyModel(directory, options);
    auto loaded = Decoder::Load(directory, {});
    std::filesystem::remove_all(directory);
    return std::move(loaded).value();
  }();
  return *decoder;
}

KvCache Prefilled() {
  KvCache cache = GetDecoder().NewCache();
  (void)GetDecoder().Forward(std::vector<int32_t>(kContext, 7), cache, {});
  return cache;
}

void Decode(benchmark::State& state, KvCache& cache) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(GetDecoder().Forward({7}, cache, {}));
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_Prefill(benchmark::State& state) {
  const std::vector<int32_t> tokens(kContext, 7);
  Decoder::ForwardOptions options;
  options.chunk_tokens = state.range(0);
  for (auto _ : state) {
    KvCache cache = GetDecoder().NewCache();
    benchmark::DoNotOptimize(GetDecoder().Forward(tokens, cache, options));
  }
  state.SetItemsProcessed(state.iterations() * kContext);
}
BENCHMARK(BM_Prefill)->Arg(128)->Arg(256)->Arg(512)->Unit(benchmark::kMillisecond);

// A fixed number of tokens: every one makes the cache longer.
void BM_DecodeFullCache(benchmark::State& state) {
  KvCache cache = Prefilled();
  Decode(state, cache);
}
BENCHMARK(BM_DecodeFullCache)->Iterations(256)->Unit(benchmark::kMicrosecond);

void BM_DecodeAfterKeepingAnEighth(benchmark::State& state) {
  KvCache cache = Prefilled();
  const bool ragged = state.range(0) != 0;
  for (int64_t layer = 0; layer < cache.layers(); ++layer) {
    for (int64_t head = 0; head < cache.kv_heads(); ++head) {
      const int64_t kept = kContext / 8 + (ragged ? head : 0);
      at::Tensor indices = at::empty({kept}, at::kLong);
      for (int64_t i = 0; i < kept; ++i) indices.data_ptr<int64_t>()[i] = i * 7;
      (void)cache.Keep(layer, head, indices);
    }
  }
  Decode(state, cache);
}
BENCHMARK(BM_DecodeAfterKeepingAnEighth)
    ->ArgName("ragged")
    ->Arg(0)
    ->Arg(1)
    ->Iterations(256)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) {
  kvp::TuneMallocForLargeBuffers();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
