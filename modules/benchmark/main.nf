include { cli } from '../code'

// The predicted cells by the metrics of the Virtual Cell Challenge. After MERGE: it takes their counts.
process BENCHMARK {
    label 'process_medium'

    input:
    tuple path(cells), path(perturbed)
    val options
    val code

    output:
    path 'evaluation/benchmark*', emit: tables
    tuple val(task.process), eval('c2s versions anndata cell-eval2 numpy pandas pdex scanpy scipy || true'), emit: versions

    script:
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s benchmark --cells=${cells} --perturbed=c2s_perturbed.h5ad ${cli(options)}
    """

    stub:
    """
    mkdir evaluation
    touch evaluation/benchmark.tsv evaluation/benchmark_notes.json
    """
}
