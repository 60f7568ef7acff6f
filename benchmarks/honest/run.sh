#!/usr/bin/env bash
# `make benchmark`: prepares the cells, runs the pipeline once for each file of parameters, and
# writes the tables of docs/benchmarks.md.
#
#   benchmarks/honest/run.sh FOLDER [NOTE]     FOLDER: of the data; NOTE: about the machine
set -euo pipefail
cd "$(dirname "$0")/../.."

here=benchmarks/honest
results=results/benchmark
# Zero-shot runs take the cells, and so the split, of the training before them.
runs=(
    kang_finetuned kang_zero_shot
    norman_finetuned norman_zero_shot
    mcfaline_finetuned mcfaline_zero_shot
    embedding_zero_shot embedding_finetuned
)

python "$here/cells.py" "$1" "$results/cells"
for run in "${runs[@]}"; do
    echo "benchmark: $run ($SECONDS s)"
    nextflow run . -ansi-log false -params-file "$here/$run.yml" >"$results/$run.log" 2>&1 ||
        { tail -n 30 "$results/$run.log" >&2; exit 1; }
done
python "$here/table.py" "$results" --seconds "$SECONDS" --note "${2:-}"
