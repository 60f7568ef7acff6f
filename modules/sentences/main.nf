include { cli } from '../code'

// One sample's cells to sentences of gene symbols, cut into shards.
process SENTENCES {
    tag "${meta.id}"
    label 'process_low'

    input:
    tuple val(meta), path(cells)
    val options
    val code

    output:
    tuple val(meta), path('shards/*.parquet', arity: '1..*'), path("${meta.id}.sentences.json"), emit: shards
    path "${meta.id}.sentences.json", emit: summary
    path "${meta.id}.obs.parquet", emit: obs
    tuple val(task.process), eval('c2s versions numpy pandas pyarrow || true'), emit: versions

    script:
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s sentences --h5ad=${cells} --id=${meta.id} ${cli(options)}
    """

    stub:
    """
    mkdir shards
    touch shards/${meta.id}.0000{0..2}.parquet ${meta.id}.sentences.json ${meta.id}.obs.parquet
    """
}
