#!/usr/bin/env bash
# Everything that is to be measured on a GPU, in at most 8 minutes, on a machine that has torch: right
# (agreement with the CPU), every step, embedding, generation, annotation and maps, memory, training: in
# the order of their worth. Each part has its own limit of time and its own benchmarks/results/gpu_*.json,
# written as it goes: a cut leaves what was done.
#
#   benchmarks/gpu.sh            on a GPU
#   benchmarks/gpu.sh rehearse   on the CPU with the smallest sizes, in a few minutes if idle; it leaves no results
#
# PYTHON names the interpreter; PARTS some of the parts, with blanks between; MOST other seconds. Where packages are missing and
# there is no network, python setup/gpu_wheels.py fetches them beforehand into .whl/.
set -uo pipefail
cd "$(dirname "$0")"
# pandas 3, which most images hold, makes strings that this anndata writes only if it is allowed to.
export ANNDATA_ALLOW_WRITE_NULLABLE_STRINGS=1
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
export PYTHONPATH="$PWD/../bin${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
most=${MOST:-480}
[ "${1:-}" != rehearse ] || most=7200
failed=''
RANDOM_MODELS=$(mktemp -d) # one random model for all parts
export RANDOM_MODELS C2SFLOW_COMPILE_CACHE=$RANDOM_MODELS/compile_cache
free=$RANDOM_MODELS/free # there once the GPU is free for the steps
trap 'rm -rf "$RANDOM_MODELS"' EXIT

# part NAME SECONDS SCRIPT ARGUMENTS...
part() {
    local name=$1 limit=$2 left=$((most - SECONDS))
    shift 2
    [[ " ${PARTS:-$name} " == *" $name "* ]] || return 0
    if ((left < 15)); then
        echo "== $name: not measured, no time is left"
        return 1
    fi
    echo "== $name ($SECONDS s): $*"
    timeout "$((limit < left ? limit : left))" "$python" "$@" 2>&1 | grep -v 'Loading weights'
    return "${PIPESTATUS[0]}"
}

# The same, where a failure does not keep the others from being measured.
measure() {
    part "$@" || failed+=" $1($?)"
}

# The same, at the same time as what follows it; `await NAME` waits for it.
declare -A behind=()
begin() {
    part "$@" &
    behind[$1]=$!
}
await() {
    wait "${behind[$1]}" || failed+=" $1($?)"
}

if ls ../.whl/*.whl >/dev/null 2>&1; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$RANDOM_MODELS/site" ../.whl/*.whl &&
        export PYTHONPATH="$RANDOM_MODELS/site:$PYTHONPATH"
fi
if [ "${1:-}" = rehearse ]; then
    # Limits against a part that hangs: what else the machine does may take most of the time.
    export RESULTS=${RESULTS:-$RANDOM_MODELS/results}
    measure agreement 900 gpu_agreement.py --device cpu --cells 4 --smallest
    measure steps 1800 gpu_steps.py --device cpu --cells 20 --max-steps 1
    measure generation 900 bench_gpu_generation.py --device cpu --shape tiny --prompts 2 --ways 'genes only;usual'
    measure embedding 900 bench_gpu.py --device cpu --shape tiny --cells 2 --ways 'auto;usual;plain layers'
    measure scores 900 bench_gpu_scores.py --device cpu --shape tiny --cells 2
    measure memory 900 gpu_memory.py --device cpu --shape tiny --cells 2
    measure training 900 bench_gpu_training.py --device cpu --shape tiny --cells 2 --ways lora
else
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    begin model 90 models.py 2B
    begin steps 280 gpu_steps.py --after "$free" # what it does on the CPU, and then waits
    measure agreement 100 gpu_agreement.py
    await model
    touch "$free"
    await steps
    measure generation 120 bench_gpu_generation.py --prompts 256 --ways 'genes only;usual'
    measure embedding 160 bench_gpu.py --ways 'auto;again;usual;plain layers;fp8'
    measure scores 50 bench_gpu_scores.py
    measure memory 45 gpu_memory.py
    measure training 90 bench_gpu_training.py --ways 'lora;qlora;full'
fi
echo "== end ($SECONDS s)${failed:+; failed:$failed}"
[ -z "$failed" ]
