#!/bin/bash
# Runs fuzz targets under libFuzzer, one after another: tests/fuzz/run.sh EXECUTIONS [TARGET…]. Builds them with clang first.
# At the end, one line a target: executions and findings. What was found lies in out/fuzz/TARGET/; the corpus grows in
# out/fuzz/TARGET/corpus/. KVP_FUZZ_BAZEL: Bazel's own options, for instance --output_base; KVP_FUZZ_FLAGS: more of libFuzzer's.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ $# -lt 1 ]; then
  echo "usage: tests/fuzz/run.sh EXECUTIONS [TARGET...]" >&2
  exit 2
fi
executions=$1
shift
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  for source in tests/fuzz/*_fuzzer.cc; do targets+=("$(basename "$source" .cc)"); done
fi

bazel=(bazel ${KVP_FUZZ_BAZEL:-})
"${bazel[@]}" build --config=fuzz --experimental_convenience_symlinks=ignore "${targets[@]/#///tests/fuzz:}" || exit 1
binaries=$("${bazel[@]}" info --config=fuzz bazel-bin)/tests/fuzz

export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=0:handle_abort=1
export UBSAN_OPTIONS=print_stacktrace=1
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
failed=0
summary=()
for target in "${targets[@]}"; do
  folder=out/fuzz/$target
  mkdir -p "$folder/corpus"
  # An input may take neither 2 GiB nor 20 seconds.
  "$binaries/$target" -runs="$executions" -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=4096 \
    -print_final_stats=1 -artifact_prefix="$folder/" -use_value_profile=1 ${KVP_FUZZ_FLAGS:-} \
    "$folder/corpus" "tests/fuzz/corpus/$target" >"$folder/log" 2>&1
  status=$?
  done_executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/log")
  findings=$(find "$folder" -maxdepth 1 -type f ! -name log | wc -l)
  if [ "$status" != 0 ] || [ "$findings" != 0 ]; then failed=1; fi
  summary+=("$(printf '%-26s %10s executions, %s findings' "$target" "${done_executions:-0}" "$findings")")
  echo "${summary[-1]}"
done
exit $failed
