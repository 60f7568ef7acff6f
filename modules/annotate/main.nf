include { cli; engine } from '../code'

// The cell types that the model predicts for the cells of one shard.
process ANNOTATE {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shard)
    path model, stageAs: 'model/*'
    val options
    val code

    output:
    path "${meta.id}.annotation.parquet", emit: annotations
    path "${meta.id}.annotate.json", emit: stats
    tuple val(task.process), eval('c2s versions torch transformers tokenizers'), emit: versions

    script:
    """
    ${engine(task.cpus)}
    c2s annotate --shard=${shard} --model=model --attempt=${task.attempt} ${cli(options)}
    """

    stub:
    """
    touch ${meta.id}.annotation.parquet ${meta.id}.annotate.json
    """
}
