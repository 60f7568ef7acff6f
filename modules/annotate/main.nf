include { cli; engine } from '../code'

// The cell types that the model predicts for the cells of shards.
process ANNOTATE {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shards, arity: '1..*')
    path model, stageAs: 'model/*'
    val options
    val code

    output:
    path '*.annotation.parquet', emit: annotations
    path '*.annotate.json', emit: stats
    tuple val(task.process), eval('c2s versions torch transformers tokenizers || true'), emit: versions

    script:
    """
    ${engine(task.cpus)}
    c2s annotate ${shards.collect { shard -> "--shard=${shard}" }.join(' ')} --model=model --attempt=${task.attempt} ${cli(options)}
    """

    stub:
    """
    touch ${shards.collect { shard -> "${shard.baseName}.annotation.parquet ${shard.baseName}.annotate.json" }.join(' ')}
    """
}
