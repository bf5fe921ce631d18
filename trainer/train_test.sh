#!/bin/bash
# The trainer as a user runs it: the same bytes for one rank and two, a summary, a clean stop, errors in one line.
set -u
failures=0
fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

train=$(realpath trainer/train)
with_traces=$(realpath trainer/with_synthetic_traces)
cd "$TEST_TMPDIR" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 HOME=$TEST_TMPDIR TMPDIR=$TEST_TMPDIR
flags="--shards @SHARDS --steps 10 --eval-every 5 --width 16 --batch 4 --group-size 2 --seed 5"

"$with_traces" "mpirun -q --oversubscribe -np 1 $train $flags --output one.safetensors --json one.json \
    --metrics one.jsonl && \
  mpirun -q --oversubscribe -np 2 $train $flags --output two.safetensors --json two.json && \
  mpirun -q --oversubscribe -np 3 $train $flags --output three.safetensors && \
  $train $flags --objective rloo --output rloo.safetensors && \
  mpirun -q --oversubscribe -np 2 $train $flags --objective rloo --output rloo_two.safetensors" \
  2>log || { fail "training exited with $?"; cat log; }
cmp one.safetensors two.safetensors || fail "two ranks write other bytes than one"
cmp one.safetensors three.safetensors || fail "a rank without heads changes the bytes"
cmp rloo.safetensors rloo_two.safetensors || fail "rloo depends on the number of ranks"
cmp -s one.safetensors rloo.safetensors && fail "rloo gives what exact gives"
[ "$(wc -l <one.jsonl)" = 10 ] || fail "metrics haven't 10 lines"
for field in held_out_cost held_out_cost_per_head retained contexts_per_second data_wait_share \
    wall_seconds steps training_data_hash; do
  grep -q "\"$field\"" two.json || fail "two.json lacks $field"
done
grep -q 'progress 10/10 steps, loss .*held-out cost' log || { cat log; fail "no progress lines"; }

# Asked to stop, it writes what it has.
"$with_traces" "$train --shards @SHARDS --steps 1000000 --eval-every 1000000 --output stopped.safetensors \
    --width 16 & pid=\$!; for i in \$(seq 300); do grep -q 'progress' stop.log && break; sleep 0.1; done; \
    kill -TERM \$pid; wait \$pid" 2>stop.log || { fail "a stopped training exited with $?"; cat stop.log; }
[ -s stopped.safetensors ] || { cat stop.log; fail "a stopped training wrote nothing"; }
grep -q 'asked to stop' stop.log || fail "a stopped training says nothing of it"

# A file that only rank 0 writes: both ranks end, with one line.
"$with_traces" "mpirun -q --oversubscribe -np 2 $train $flags --output x.safetensors --metrics /nowhere/m" \
  2>error.log && fail "metrics were written to /nowhere"
[ "$(grep -c '^train: .*/nowhere/m' error.log)" = 1 ] || { cat error.log; fail "/nowhere/m isn't named"; }

# expect_error STATUS TEXT ARGUMENTS...
expect_error() {
  local status=$1 text=$2
  shift 2
  "$train" "$@" 2>error.log
  local actual=$?
  [ $actual = "$status" ] || fail "$*: exit status $actual, not $status"
  [ "$(grep '^train: ' error.log | grep -c -- "$text")" = 1 ] || { cat error.log; fail "$*: no single line with: $text"; }
}
expect_error 2 '--shards is missing' --output x.safetensors
expect_error 2 'objective is "best"' --shards localhost:1 --output x.safetensors --objective best
expect_error 2 'batch is 0' --shards localhost:1 --output x.safetensors --batch 0
expect_error 1 '/nowhere/x.safetensors' --shards localhost:1 --output /nowhere/x.safetensors
expect_error 1 'localhost:1' --shards localhost:1 --output x.safetensors --connect-deadline 1s

[ $failures = 0 ] && echo "all passed"
exit $((failures > 0))
