#!/usr/bin/env bash
# Everything that is to be measured on a GPU, in at most 8 minutes, on a machine that has torch: right
# (agreement with the CPU), every step, embedding, generation, training, memory. Each part has its own
# limit of time and its own benchmarks/results/gpu_*.json, written as it goes: a cut leaves what was done.
#
#   benchmarks/gpu.sh            on a GPU
#   benchmarks/gpu.sh rehearse   on the CPU with the smallest sizes, in a few minutes
#
# PYTHON names the interpreter; PARTS some of the parts, with blanks between.
set -uo pipefail
cd "$(dirname "$0")"
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
export PYTHONPATH="$PWD/../bin${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
failed=''
RANDOM_MODELS=$(mktemp -d) # one random model for all parts
export RANDOM_MODELS C2SFLOW_COMPILE_CACHE=$RANDOM_MODELS/compile_cache
trap 'rm -rf "$RANDOM_MODELS"' EXIT

# part NAME SECONDS SCRIPT ARGUMENTS...
part() {
    local name=$1 limit=$2
    shift 2
    [[ " ${PARTS:-$name} " == *" $name "* ]] || return 0
    echo "== $name ($SECONDS s): $*"
    timeout "$limit" "$python" "$@" 2>&1 | grep -v 'Loading weights'
    local status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || failed+=" $name($status)"
}

if [ "${1:-}" = rehearse ]; then
    part agreement 600 gpu_agreement.py --device cpu --cells 4 --smallest
    part steps 600 gpu_steps.py --device cpu --cells 40 --max-steps 1 --steps 'embed;finetune, lora'
    part embedding 300 bench_gpu.py --device cpu --shape tiny --cells 2 --ways 'auto;usual'
    part generation 300 bench_gpu_generation.py --device cpu --shape tiny --prompts 2 --ways 'genes only;usual'
    part training 300 bench_gpu_training.py --device cpu --shape tiny --cells 8 --ways 'lora;usual'
    part memory 300 gpu_memory.py --device cpu --shape tiny --cells 2
else
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    part agreement 90 gpu_agreement.py
    part steps 150 gpu_steps.py
    part memory 50 gpu_memory.py
    part embedding 70 bench_gpu.py --ways 'auto;compiled;fp8, compiled'
    part generation 70 bench_gpu_generation.py --ways 'genes only'
    part training 150 bench_gpu_training.py --ways 'lora;qlora'
fi
echo "== end ($SECONDS s)${failed:+; failed:$failed}"
[ -z "$failed" ]
