#!/usr/bin/env bash
# `make benchmark`: prepares the cells, runs the pipeline once for each file of parameters, and
# writes the tables of docs/benchmarks.md.
#
#   benchmarks/honest/run.sh FOLDER [NOTE]     FOLDER: of the data; NOTE: about the machine
set -euo pipefail
cd "$(dirname "$0")/../.."

export here=benchmarks/honest results=results/benchmark
# Runs of a line follow each other: the later ones take the cells, and so the split, of the first.
# Two lines at a time: starting, training a small model and scoring each leave a core idle.
chains='
    mcfaline_finetuned mcfaline_zero_shot
    kang_finetuned kang_zero_shot
    norman_finetuned norman_zero_shot
    embedding_zero_shot lines_finetuned
'

chain() {
    for run in "$@"; do
        echo "benchmark: $run ($(($(date +%s) - started)) s)"
        nextflow -log "$results/$run.nextflow.log" run . -ansi-log false \
            -params-file "$here/$run.yml" >"$results/$run.log" 2>&1 ||
            { tail -n 30 "$results/$run.log" >&2; exit 255; } # xargs starts no other chain
    done
}
export -f chain
started=$(date +%s)
export started

python "$here/cells.py" "$1" "$results/cells"
sed '/^$/d' <<<"$chains" | xargs -P 2 -L 1 bash -c 'set -euo pipefail; chain "$@"' chain
python "$here/table.py" "$results" --seconds "$SECONDS" --note "${2:-}"
