include { cli } from '../code'

// Which cells get an attention map, for all samples: a table for each shard that holds some.
process CHOOSE {
    label 'process_single'

    input:
    path cells, stageAs: 'cells/*'
    val options
    val code

    output:
    path 'chosen/*.chosen.parquet', arity: '1..*', emit: chosen
    tuple val(task.process), eval('c2s versions pandas || true'), emit: versions

    script:
    """
    c2s choose --cells-dir=cells ${cli(options)}
    """

    stub:
    """
    mkdir chosen
    for cells in cells/*.obs.parquet; do
        touch chosen/\$(basename \$cells .obs.parquet).0000{0,2}.chosen.parquet
    done
    """
}
