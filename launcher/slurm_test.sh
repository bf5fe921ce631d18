#!/bin/bash
# kvp launch --backend=slurm on a real Slurm: its daemons, two emulated nodes on loopback, are started here. The launcher's
# tools are stood in for by a fake shard and by scripts. Skipped where Slurm isn't installed or the user isn't root.
set -uo pipefail

skip() {
  echo "SKIPPED: $*"
  exit 0
}
fail() {
  echo "FAILED: $*"
  tail -n 30 "$work"/out/logs/*.log "$work"/slurmctld.log 2>/dev/null
  exit 1
}

for program in slurmctld slurmd munged sbatch srun; do
  PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || skip "there is no $program (apt-get install slurm-wlm slurmctld slurmd munge)"
done
export PATH="$PATH:/usr/sbin"
[ "$(id -u)" = 0 ] || skip "slurmd needs root"

work=$(mktemp -d /tmp/kvp_slurm_test.XXXXXX)
daemons=()
cleanup() {
  local daemon
  for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null; done
  wait
  rm -rf "$work"
}
trap cleanup EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
eventually() {
  local i
  for ((i = 0; i < 600; ++i)); do
    "$@" && return 0
    sleep 0.1
  done
  return 1
}

# The tools.
mkdir -p "$work"/{launcher,storage,collector,trainer,eval,model,state,n1,n2}
cp launcher/kvp_alone "$work/launcher/kvp"
cp launcher/{status,logs,stop} "$work/launcher/"
cp launcher/fake_shard "$work/storage/serve"
tool() { # PATH, and the script after its flags are variables
  {
    echo '#!/bin/bash'
    echo 'for argument in "$@"; do pair=${argument#--}; key=${pair%%=*}; declare "${key//-/_}=${pair#*=}"; done'
    cat
  } >"$work/$1"
  chmod +x "$work/$1"
}
tool collector/collect <<'SCRIPT'
echo "$worker_index on $SLURMD_NODENAME" >> nodes
if [ "$generate" = retrieval ] && [ "$worker_index" = 1 ] && [ ! -e killed ]; then echo $$ > victim; exec sleep 1000; fi
if [ -e hang ]; then touch hangs; exec sleep 1000; fi
echo "progress 4/4 traces"
SCRIPT
tool trainer/train <<'SCRIPT'
if [ "${OMPI_COMM_WORLD_RANK:-0}" = 0 ]; then echo "agents of ${OMPI_COMM_WORLD_SIZE:-1} ranks, $steps steps" > "$output"; fi
SCRIPT
tool eval/evaluate <<'SCRIPT'
cat "$agents" > "$report" && echo '{}' > "$json"
SCRIPT
cd "$work" || exit 1
echo x >text.txt
echo '{"num_hidden_layers": 4, "num_key_value_heads": 2}' >model/config.json
cat >job.textproto <<'JOB'
name: "small"
output_dir: "out"
model { path: "model" }
shards { count: 2 }
collectors { count: 2 }
datasets { split: "train" generated { task: "retrieval" count: 8 text_file: "text.txt" } }
datasets { split: "held_out" generated { task: "text" count: 8 text_file: "text.txt" } }
trainers { ranks: 2 steps: 3 }
evaluation { text_file: "text.txt" }
retries: 2
resources { nodes: 2 }
JOB

# Slurm.
host=$(hostname)
dd if=/dev/urandom of=munge.key bs=1024 count=1 2>/dev/null
chmod 600 munge.key
chmod 755 "$work"
cat >slurm.conf <<CONF
ClusterName=kvp
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmdSpoolDir=$work/%n
StateSaveLocation=$work/state
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd-%n.log
KillWait=10
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
munged -F --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
  --log-file="$work/munged.log" --seed-file="$work/munged.seed" 2>/dev/null &
daemons+=($!)
eventually test -S munge.socket || skip "munged doesn't start"
slurmctld -D -f "$SLURM_CONF" -c >/dev/null 2>&1 &
daemons+=($!)
for node in n1 n2; do
  slurmd -D -N "$node" -f "$SLURM_CONF" >/dev/null 2>&1 &
  daemons+=($!)
done
idle() { [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ]; }
eventually idle || fail "Slurm doesn't start: $(sinfo 2>&1)"

# Scripts alone.
launcher/kvp launch job.textproto --backend=slurm --export-only || fail "--export-only"
[ -e out/slurm/jobs ] && fail "--export-only has submitted something"
for part in collect train evaluate; do
  bash -n "out/slurm/$part.sbatch" || fail "$part.sbatch is no script"
done
grep -q '^#SBATCH --requeue$' out/slurm/train.sbatch || fail "train.sbatch isn't requeued"

# A job, one of whose tasks is killed.
launcher/kvp launch job.textproto --backend=slurm || fail "launch"
eventually test -s victim || fail "no collector has started"
touch killed
kill -9 "$(cat victim)"
eventually test -s out/report.html || fail "the job doesn't end: $(squeue 2>&1)"
[ "$(cat out/agents.safetensors)" = "agents of 2 ranks, 3 steps" ] || fail "agents: $(cat out/agents.safetensors)"
grep -q "^0 on n1" nodes && grep -q "^1 on n2" nodes || fail "collectors aren't on both nodes: $(cat nodes)"
grep -q "collector-train-1 died" out/logs/slurm-collect.log || fail "the kill wasn't seen"
grep -q "drained" out/logs/shard-0.log || fail "shards were killed, not drained"
empty() { [ -z "$(squeue -h)" ]; }
eventually empty || fail "something is left in the queue: $(squeue)"
launcher/kvp status out >/dev/null || fail "status: $(launcher/kvp status out)"

# A job that is stopped.
touch hang
launcher/kvp launch job.textproto --backend=slurm --output other || fail "second launch"
eventually test -e hangs || fail "the second job's collectors haven't started"
launcher/kvp stop other || fail "stop"
eventually empty || fail "stop has left something in the queue: $(squeue)"
stopped() { ! launcher/kvp status other --json | grep -q '"status": "running"'; }
eventually stopped || fail "something still runs: $(launcher/kvp status other)"
echo PASSED
