include { cli; engine } from '../code'

// Cell sentences of shards to vectors.
process EMBED {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shards, arity: '1..*')
    path model, stageAs: 'model/*'
    val options
    val code

    output:
    path '*.embedding.h5ad', emit: embeddings
    path '*.embed.json', emit: stats
    tuple val(task.process), eval('c2s versions torch transformers tokenizers || true'), emit: versions

    script:
    """
    ${engine(task.cpus)}
    c2s embed ${shards.collect { shard -> "--shard=${shard}" }.join(' ')} --model=model --attempt=${task.attempt} ${cli(options)}
    """

    stub:
    """
    touch ${shards.collect { shard -> "${shard.baseName}.embedding.h5ad ${shard.baseName}.embed.json" }.join(' ')}
    """
}
