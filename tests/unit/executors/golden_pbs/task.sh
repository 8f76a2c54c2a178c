#!/bin/bash
# curriculum.s1 of run toy-1234. Written by `candor run --on pbs`.
#PBS -N candor.toy-1234.curriculum.s1.d34b9d
#PBS -S /bin/bash
#PBS -l select=1:ncpus=8:mem=65536mb:ngpus=1:gpu_type=RTX6000
#PBS -l walltime=08:00:00
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
cd "$PBS_O_WORKDIR" && exec >>"curriculum.s1-$CANDOR_JOB.out" 2>&1
export OMP_NUM_THREADS=${NCPUS:-1}
export PATH=${PBS_O_PATH:-$PATH}
export LANG=${PBS_O_LANG:-$LANG}
type module >/dev/null 2>&1 || . /etc/profile
module load tools/prod || fail 'module tools/prod does not load'
module load Python/3.12.3-GCCcore-13.3.0 || fail 'module Python/3.12.3-GCCcore-13.3.0 does not load'
. "$HOME/envs/candor/bin/activate" || fail 'no virtual environment to activate'
candor=(candor)
task=curriculum.s1
plan='/scratch/a röot '"'"'x'"'"' $HOME/runs/toy-1234/plan.json'
logs='/scratch/a röot '"'"'x'"'"' $HOME/runs/toy-1234/pbs'
script=$logs/curriculum.s1.sh
samples=$logs/job-$CANDOR_JOB.samples
sample() {
  head -n 1 /proc/stat
  nvidia-smi --query-gpu=index,utilization.gpu,memory.used,memory.total --format=csv,noheader,nounits 2>/dev/null
}
sample >>"$samples"
( trap : USR1; while sleep 15; do sample; done ) >>"$samples" & sampler=$!
warned= woken= child=
trap 'warned=1 woken=1; kill -TERM $child 2>/dev/null' USR1
trap 'woken=1' TERM
( sleep 28680 & s=$!; trap 'kill $s' TERM; wait $s && kill -USR1 $$ ) & timer=$!
"${candor[@]}" task run "$plan" "$task" & child=$!
[ -z "$warned" ] || { kill -TERM $child 2>/dev/null; }
while :; do
  woken=
  wait "$child"; rc=$?
  [ -n "$woken" ] || break
done
kill "$timer" 2>/dev/null
kill "$sampler" 2>/dev/null
sample >>"$samples"
if [ -n "$warned" ] && { [ "$rc" = 130 ] || [ "$rc" = 143 ]; }; then
  "${candor[@]}" cluster resubmit "$plan" "$task" "$script" --at-most 50 && rc=0
fi
"${candor[@]}" cluster epilog "$plan" "$task" --job "$CANDOR_JOB"
exit $rc
