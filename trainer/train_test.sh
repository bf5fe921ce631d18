#!/bin/bash
# The trainer as a user runs it: the same bytes for one rank and four, replicas, checkpoints and going on from them, a
# summary, a clean stop, errors in one line.
set -u
failures=0
fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

train=$(realpath trainer/train)
with_traces=$(realpath trainer/with_synthetic_traces)
compare="/usr/bin/python3 $(realpath trainer/compare_agents.py)"
cd "$TEST_TMPDIR" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 HOME=$TEST_TMPDIR TMPDIR=$TEST_TMPDIR
flags="--steps 10 --eval-every 5 --width 16 --batch 4 --seed 5"
mpi="mpirun -q --oversubscribe -np"

# Four heads: in groups of one, a group for each of four ranks; in one group, replicas.
"$with_traces" "set -e
  single='$flags --group-size 1 --shards @SHARDS'
  $mpi 1 $train \$single --output one.safetensors --json one.json --metrics one.jsonl
  $mpi 2 $train \$single --output two.safetensors --json two.json
  $mpi 3 $train \$single --output three.safetensors
  $mpi 4 $train \$single --output four.safetensors
  $train \$single --objective rloo --output rloo.safetensors
  $mpi 2 $train \$single --objective rloo --output rloo_two.safetensors
  $train $flags --group-size 1 --shards @FOLDERS --cache-mib 0 --prefetch-mib 0 --output folders.safetensors
  stacked='$flags --group-size 4 --shards @SHARDS'
  $train \$stacked --output stacked.safetensors
  $mpi 3 $train \$stacked --output replicas.safetensors
  $mpi 3 $train $flags --group-size 2 --shards @SHARDS --output uneven.safetensors" \
  2>log || { fail "training exited with $?"; cat log; }
for ranks in two three four; do
  cmp one.safetensors $ranks.safetensors || fail "$ranks ranks write other bytes than one"
done
cmp one.safetensors folders.safetensors || fail "folders without a cache give other bytes"
cmp rloo.safetensors rloo_two.safetensors || fail "rloo depends on the number of ranks"
cmp -s one.safetensors rloo.safetensors && fail "rloo gives what exact gives"
for file in replicas uneven; do
  difference=$($compare stacked.safetensors $file.safetensors)
  echo "$file: largest difference $difference"
  awk -v d="$difference" 'BEGIN { exit !(d != "" && d <= 1e-5) }' || fail "$file differ by $difference"
done
[ "$(wc -l <one.jsonl)" = 10 ] || fail "metrics haven't 10 lines"
for field in held_out_cost held_out_cost_per_head per_head best_heuristic gap_closed retained contexts_per_second \
    data_wait_share wall_seconds steps training_data_hash; do
  grep -q "\"$field\"" two.json || fail "two.json lacks $field"
done
grep -q 'progress 10/10 steps, loss .*held-out cost .*steps/s, .*token·heads/s, .*waiting for data' log ||
  { cat log; fail "no progress lines"; }
grep -q 'best heuristic' log || fail "no table of heads"

# Asked to stop, it writes a checkpoint and no agents, and goes on from there with other ranks as if nothing had been.
long="--steps 400 --eval-every 100 --width 16 --batch 4 --seed 5 --group-size 2 --shards @SHARDS"
stopped="$train $long --checkpoint-dir stopped --resume --output resumed.safetensors --metrics stopped.jsonl"
"$with_traces" "$train $long --output whole.safetensors &&
  { $stopped 2>part.log & pid=\$!; for i in \$(seq 600); do grep -q 'progress' part.log && break; sleep 0.05; done; \
    kill -TERM \$pid; wait \$pid; } && [ ! -e resumed.safetensors ] && ls stopped >stopped.list &&
  $mpi 2 $stopped" 2>stop.log || { fail "stop and resume exited with $?"; cat stop.log; }
grep -q 'step-' stopped.list || fail "a stopped training left no checkpoint"
grep -q 'asked to stop after' part.log || fail "a stopped training says nothing of it"
grep -q 'going on after step' stop.log || fail "a resumed training says nothing of it"
cmp whole.safetensors resumed.safetensors || fail "a resumed training writes other bytes"
[ "$(wc -l <stopped.jsonl)" = 400 ] || fail "metrics of a resumed training haven't 400 lines"
"$with_traces" "$train $long --batch 5 --checkpoint-dir stopped --resume --output x.safetensors" 2>error.log &&
  fail "a checkpoint of other flags was taken"
grep -q '^train: .*batch is "4" there, and "5" here' error.log || { cat error.log; fail "the field isn't named"; }

# Without checkpoints it writes what it has.
"$with_traces" "$train --shards @SHARDS --steps 1000000 --eval-every 1000000 --output stopped.safetensors \
    --width 16 & pid=\$!; for i in \$(seq 300); do grep -q 'progress' stop.log && break; sleep 0.1; done; \
    kill -TERM \$pid; wait \$pid" 2>stop.log || { fail "a stopped training exited with $?"; cat stop.log; }
[ -s stopped.safetensors ] || { cat stop.log; fail "a stopped training wrote nothing"; }

# Prometheus.
"$with_traces" "$train --shards @SHARDS --steps 1000000 --eval-every 1000000 --output served.safetensors --width 16 \
    --metrics-port 0 & pid=\$!; for i in \$(seq 300); do grep -q 'progress' served.log && break; sleep 0.1; done; \
    /usr/bin/python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())' \
    \$(grep -o 'http://[^ ]*/metrics' served.log) >served.txt; kill -TERM \$pid; wait \$pid" 2>served.log
grep -q '^kvp_trainer_steps_total [1-9]' served.txt || { cat served.log served.txt; fail "no metrics are served"; }

# A file that only rank 0 writes: both ranks end, with one line.
"$with_traces" "$mpi 2 $train $flags --shards @SHARDS --output x.safetensors --metrics /nowhere/m" \
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
expect_error 2 "flag --permutations doesn't apply to --objective exact" --shards localhost:1 --output x.safetensors \
  --objective exact --permutations 16
expect_error 2 "flag --pairs doesn't apply to --objective rloo" --shards localhost:1 --output x.safetensors \
  --objective rloo --pairs 16
expect_error 2 'checkpoint_dir is empty' --shards localhost:1 --output x.safetensors --resume
expect_error 2 '--fetch-threads is 0' --shards localhost:1 --output x.safetensors --fetch-threads 0
expect_error 1 'device is "tpu"' --shards localhost:1 --output x.safetensors --device tpu
expect_error 1 '/nowhere/x.safetensors' --shards localhost:1 --output /nowhere/x.safetensors
expect_error 1 'localhost:1' --shards localhost:1 --output x.safetensors --connect-deadline 1s

[ $failures = 0 ] && echo "all passed"
exit $((failures > 0))
