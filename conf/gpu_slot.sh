# Waits for free GPUs of this machine and leaves their numbers in CUDA_VISIBLE_DEVICES. A task
# sources it before it starts:   source gpu_slot.sh GPUS GPUS_PER_TASK
#
# A GPU is taken by a lock on a file. The lock goes with the last process of the task, so that
# nothing is left to tidy up, whatever kills the task; other runs of the same user respect it too.
# Where CUDA_VISIBLE_DEVICES names GPUs already, those are shared out.

c2sflow_lock_gpus() { # GPU ...: all of them, or none
    local gpu lock locks=()
    for gpu; do
        exec {lock}>>"/tmp/c2sflow-gpus-$UID/$gpu"
        locks+=("$lock")
        if ! flock --nonblock "$lock"; then
            for lock in "${locks[@]}"; do exec {lock}>&-; done
            return 1
        fi
    done
}

c2sflow_take_gpus() { # GPUS GPUS_PER_TASK
    local gpus start
    IFS=, read -r -a gpus <<<"${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $(($1 - 1)))}"
    gpus=("${gpus[@]:0:$1}")
    if [ ${#gpus[@]} -lt "$2" ]; then
        echo "--gpus_per_task $2: this machine has ${#gpus[@]} (--gpus, CUDA_VISIBLE_DEVICES)" >&2
        return 1
    fi
    mkdir -p -m 700 "/tmp/c2sflow-gpus-$UID"
    while true; do
        for ((start = 0; start + $2 <= ${#gpus[@]}; start += $2)); do
            if c2sflow_lock_gpus "${gpus[@]:start:$2}"; then
                CUDA_VISIBLE_DEVICES=$(IFS=,; echo "${gpus[*]:start:$2}")
                export CUDA_VISIBLE_DEVICES
                return
            fi
        done
        sleep 1
    done
}

c2sflow_take_gpus "$@"
