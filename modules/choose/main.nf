include { cli } from '../code'

// Which cells get an attention map, for all samples: a table for each shard that holds some, in a
// folder for each task of ATTENTION.
process CHOOSE {
    label 'process_single'

    input:
    path cells, stageAs: 'cells/*'
    val options
    val code

    output:
    path 'chosen/*/*.chosen.parquet', arity: '1..*', emit: chosen
    tuple val(task.process), eval('c2s versions pandas || true'), emit: versions

    script:
    """
    c2s choose --cells-dir=cells ${cli(options)}
    """

    stub:
    """
    mkdir -p chosen/attention.00000
    for cells in cells/*.obs.parquet; do
        touch chosen/attention.00000/\$(basename \$cells .obs.parquet).0000{0,2}.chosen.parquet
    done
    """
}
