// Encoding and decoding speed of a tokenizer on a text, one core:
//
//   tokenizer_benchmark TOKENIZER.json TEXT [--benchmark_filter=...]
//
// The vocabularies that tests/tokenizers installs do: run published_tokenizers_test, or
// `node tests/tokenizers/published.mjs OUTPUT_DIRECTORY 100 1`, which writes the tokenizers.

#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "llm/tokenizer.h"
#include "util/file.h"

namespace kvp {
namespace {

constexpr size_t kMegabyte = 1'000'000;

struct Input {
  std::unique_ptr<Tokenizer> tokenizer;
  std::string text;
};
Input* input = nullptr;

void SetRate(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}

void EncodeAll(benchmark::State& state, const std::string& text) {
  size_t tokens = 0;
  for (auto _ : state) {
    const std::vector<int32_t> ids = input->tokenizer->Encode(text);
    tokens = ids.size();
    benchmark::DoNotOptimize(ids.data());
  }
  SetRate(state, text.size());
  state.counters["tokens"] = static_cast<double>(tokens);
}

void BM_EncodeText(benchmark::State& state) { EncodeAll(state, input->text); }
BENCHMARK(BM_EncodeText)->Unit(benchmark::kMillisecond);

// As prompts come: nothing is remembered from one to the next.
void BM_EncodeLines(benchmark::State& state) {
  std::vector<std::string> lines = {""};
  for (const char c : input->text) {
    if (lines.back().size() >= 400 && c == '\n') lines.emplace_back();
    lines.back() += c;
  }
  for (auto _ : state) {
    for (const std::string& line : lines) benchmark::DoNotOptimize(input->tokenizer->Encode(line));
  }
  SetRate(state, input->text.size());
}
BENCHMARK(BM_EncodeLines)->Unit(benchmark::kMillisecond);

// Text without spaces, so that it can't be split.
void BM_EncodeOneWord(benchmark::State& state) {
  std::string text;
  for (const char c : input->text) {
    if (c >= 'a' && c <= 'z') text += c;
  }
  std::string word;
  while (word.size() < static_cast<size_t>(state.range(0)) * kMegabyte) word += text;
  word.resize(state.range(0) * kMegabyte);
  EncodeAll(state, word);
}
BENCHMARK(BM_EncodeOneWord)->Arg(1)->Arg(10)->Unit(benchmark::kMillisecond);

void BM_EncodeRun(benchmark::State& state) {
  EncodeAll(state, std::string(10 * kMegabyte, static_cast<char>(state.range(0))));
}
BENCHMARK(BM_EncodeRun)->Arg('a')->Arg(' ')->Arg('\n')->Unit(benchmark::kMillisecond);

void BM_Decode(benchmark::State& state) {
  const std::vector<int32_t> ids = input->tokenizer->Encode(input->text);
  for (auto _ : state) benchmark::DoNotOptimize(input->tokenizer->Decode(ids));
  SetRate(state, input->text.size());
}
BENCHMARK(BM_Decode)->Unit(benchmark::kMillisecond);

int Main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc != 3) {
    std::cerr << "usage: tokenizer_benchmark TOKENIZER.json TEXT [--benchmark_...]\n";
    return 2;
  }
  auto tokenizer = Tokenizer::Load(argv[1]);
  auto text = ReadFile(argv[2]);
  if (!tokenizer.ok() || !text.ok()) {
    std::cerr << tokenizer.status() << " " << text.status() << "\n";
    return 1;
  }
  input = new Input{*std::move(tokenizer), *std::move(text)};
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace kvp

int main(int argc, char** argv) { return kvp::Main(argc, argv); }
