#!/bin/bash
# A small job, one of whose processes, the launcher included, is killed at a random time: started again, or resumed, it ends
# with the same agents, and no process is left. KVP_FAULT_TRIALS says how often, KVP_FAULT_SEED with which random numbers.
set -uo pipefail

kvp=${KVP:-$PWD/launcher/kvp}
job=${KVP_JOB:-$PWD/launcher/jobs/quickstart.textproto}
trials=${KVP_FAULT_TRIALS:-3}
RANDOM=${KVP_FAULT_SEED:-7}
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/launch_kill.XXXXXX")
trap 'rm -rf "$work"' EXIT
export OMPI_MCA_btl_vader_single_copy_mechanism=none

fail() {
  echo "FAILED: $*"
  exit 1
}
small=(--set datasets[0].generated.count=12 --set datasets[1].generated.count=4 --set trainers.steps=30 --set trainers.width=16
  --set trainers.eval_every=10 --set 'trainers.flags=--checkpoint-steps=5' --set evaluation= --set retries=2)
launch() { # OUTPUT: in a shell of its own, which becomes the launch
  exec "$kvp" launch "$job" --output "$1" "${small[@]}"
}

begin=$(date +%s%N)
(launch "$work/reference") >"$work/reference.txt" 2>&1 || fail "the job alone: $(tail -n 20 "$work/reference.txt")"
milliseconds=$((($(date +%s%N) - begin) / 1000000))
killed=0
for ((trial = 1; trial <= trials; ++trial)); do
  output=$work/trial$trial
  launch "$output" >"$work/log.txt" 2>&1 &
  guard=$!
  delay=$((RANDOM * milliseconds / 32768))
  sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
  # The guard, the launcher, and all that they have started.
  candidates=("$guard" $(pgrep -f "$output" | grep -vx "$guard"))
  victim=${candidates[RANDOM % ${#candidates[@]}]}
  what=$(tr '\0' ' ' <"/proc/$victim/cmdline" 2>/dev/null | cut -c 1-80)
  kill -9 "$victim" 2>/dev/null && killed=$((killed + 1))
  echo "trial $trial: after $delay of $milliseconds ms killed ${what:-what had ended}"
  wait "$guard"
  status=$?
  # Where the guard was killed, the launcher stops by itself.
  for ((i = 0; i < 300; ++i)); do
    pgrep -f "$output" >/dev/null || break
    sleep 0.1
  done
  pgrep -af "$output" && fail "processes are left"
  if [ "$status" != 0 ]; then
    if [ -f "$output/manifest.json" ]; then
      "$kvp" launch --resume "$output" >"$work/log.txt" 2>&1 || fail "resume: $(tail -n 20 "$work/log.txt")"
    else
      (launch "$output") >"$work/log.txt" 2>&1 || fail "launched again: $(tail -n 20 "$work/log.txt")"
    fi
  fi
  cmp "$work/reference/agents.safetensors" "$output/agents.safetensors" || fail "the agents are others"
  rm -rf "$output"
done
echo "PASSED: $killed of $trials killed"
