#!/bin/bash
# All tasks of run toy-1234 on Ray. Written by `candor run --on pbs --with-ray`.
#PBS -N candor.toy-1234.ray.d34b9d
#PBS -S /bin/bash
#PBS -l select=1:ncpus=4:mem=16384mb
#PBS -l place=exclhost
#PBS -l walltime=01:00:00
#PBS -j oe
#PBS -m n
#PBS -r y

fail() { echo "candor: $1" >&2; exit 78; }
export CANDOR_RUN_ROOT='/scratch/a röot '"'"'x'"'"' $HOME'
export CANDOR_SCHEDULER=pbs
case $PBS_JOBID in
  *\[*) export CANDOR_JOB=${PBS_JOBID%%\[*}_$PBS_ARRAY_INDEX;;
  *) export CANDOR_JOB=${PBS_JOBID%%.*};;
esac
cd "$PBS_O_WORKDIR" && exec >>"ray-$CANDOR_JOB.out" 2>&1
export OMP_NUM_THREADS=${NCPUS:-1}
export PATH=${PBS_O_PATH:-$PATH}
export LANG=${PBS_O_LANG:-$LANG}
type module >/dev/null 2>&1 || . /etc/profile
module load tools/prod || fail 'module tools/prod does not load'
module load Python/3.12.3-GCCcore-13.3.0 || fail 'module Python/3.12.3-GCCcore-13.3.0 does not load'
. "$HOME/envs/candor/bin/activate" || fail 'no virtual environment to activate'
candor=(candor)
plan='/scratch/a röot '"'"'x'"'"' $HOME/runs/toy-1234/plan.json'
logs='/scratch/a röot '"'"'x'"'"' $HOME/runs/toy-1234/pbs'
job=$CANDOR_JOB
head=$(hostname)
samples=$logs/job-$CANDOR_JOB.samples
sample() {
  head -n 1 /proc/stat
  nvidia-smi --query-gpu=index,utilization.gpu,memory.used,memory.total --format=csv,noheader,nounits 2>/dev/null
}
sample >>"$samples"
( trap : USR1; while sleep 15; do sample; done ) >>"$samples" & sampler=$!
host=$(getent hosts "$head" | awk '{print $1; exit}')
address=${host:-$head}:$((20000 + job % 20000))
temp=${RAY_TMPDIR:-/tmp}/candor-$UID-$job
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_gcs_rpc_server_reconnect_timeout_s=20 RAY_USAGE_STATS_ENABLED=0
export RAY_ADDRESS=$address RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
pid=$logs/ray-$job.pid inside=$logs/ray-$job.inside
rm -f "$pid.stop"
printf '%s\n' "$(declare -p candor plan pid address)" \
  '"${candor[@]}" task run-plan "$plan" --on ray --address "$address" & echo $! >"$pid"; [ ! -e "$pid.stop" ] || kill -TERM $!; wait $!; echo $? >"$pid.rc"; exit "$(cat "$pid.rc")"' >"$inside"
warned= woken= child=
trap 'warned=1 woken=1; touch "$pid.stop"; kill -TERM "$(cat "$pid" 2>/dev/null)" 2>/dev/null' USR1
trap 'woken=1' TERM
( sleep 3480 & s=$!; trap 'kill $s' TERM; wait $s && kill -USR1 $$ ) & timer=$!
  ray symmetric-run --address "$address" --min-nodes 1 --num-cpus=${NCPUS:-1} --temp-dir "$temp" \
  -- bash "$inside" & child=$!
[ -z "$warned" ] || { touch "$pid.stop"; kill -TERM "$(cat "$pid" 2>/dev/null)" 2>/dev/null; }
while :; do
  woken=
  wait "$child"; rc=$?
  [ -n "$woken" ] || break
done
kill "$timer" 2>/dev/null
[ ! -f "$pid.rc" ] || rc=$(cat "$pid.rc")
kill "$sampler" 2>/dev/null
sample >>"$samples"
rm -f "$pid" "$pid.rc" "$pid.stop" "$inside"
[ "$rc" != 0 ] || rm -rf "$temp"
if [ -n "$warned" ] && { [ "$rc" = 130 ] || [ "$rc" = 143 ]; } && [ "0" -lt 50 ]; then
  "${candor[@]}" cluster resubmit-allocation "$plan" "$logs/ray.sh" --at-most 50
fi
"${candor[@]}" cluster epilog "$plan" ray --job "$job"
exit $rc
