include { cli } from '../code'

// Groups of cells that share a prompt, of one sample or of all, cut into shards.
process GROUPS {
    tag "${meta.id}"
    label 'process_low'

    input:
    tuple val(meta), path(obs, stageAs: 'obs/*'), path(cells, stageAs: 'cells/*'), path(h5ad, stageAs: 'qc/*') // h5ad: for neighbours, or []
    val options
    val code

    output:
    tuple val(meta), path('shards/*.parquet', arity: '0..*'), emit: shards
    path "${meta.id}.members.parquet", emit: members
    path "${meta.id}.groups.json", emit: summary
    tuple val(task.process), eval('c2s versions numpy pandas pyarrow scipy || true'), emit: versions

    script:
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s groups --obs-dir=obs --cells-dir=cells ${h5ad ? "--h5ad=${h5ad}" : ''} --id=${meta.id} ${cli(options)}
    """

    stub:
    """
    mkdir shards
    touch shards/${meta.id}.groups.0000{0..1}.parquet ${meta.id}.members.parquet ${meta.id}.groups.json
    """
}
