include { cli; engine } from '../code'

// A text about each group of cells of one shard.
process INTERPRET {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shard)
    path model, stageAs: 'model/*'
    val options
    val code

    output:
    path "${meta.id}.interpretation.parquet", emit: texts
    path "${meta.id}.interpret.json", emit: stats
    tuple val(task.process), eval('c2s versions torch transformers tokenizers || true'), emit: versions

    script:
    """
    ${engine(task.cpus)}
    c2s interpret --shard=${shard} --model=model --attempt=${task.attempt} ${cli(options)}
    """

    stub:
    """
    touch ${meta.id}.interpretation.parquet ${meta.id}.interpret.json
    """
}
