#!/bin/bash
# Builds and runs the tests: ./test.sh [--all] [BAZEL ARGUMENTS OR TARGETS]. The last line is "N passed, M failed", counted
# in single test cases. --all adds the tests tagged "slow".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export LC_ALL=C.UTF-8

all=0
arguments=()
for argument in "$@"; do
  if [ "$argument" = --all ]; then all=1; else arguments+=("$argument"); fi
done
targets=0
for argument in "${arguments[@]+"${arguments[@]}"}"; do
  case "$argument" in //* | :* | @*) targets=1 ;; esac
done
if [ "$targets" = 0 ]; then arguments+=(//...); fi
if [ "$all" = 1 ]; then
  arguments=(--test_tag_filters=-manual,-benchmark,-gpu "${arguments[@]}")
fi

if ! ./install_packages.sh --test </dev/null; then
  echo "0 passed, 1 failed"
  exit 1
fi

events=$(mktemp)
trap 'rm -f "$events"' EXIT
# Everything that can be tested is, whatever else fails to build.
bazel test --keep_going --test_summary=terse --build_event_json_file="$events" "${arguments[@]}"
status=$?

exec python3 .ci/count_tests.py "$events" "$status"
