include { cli; engine } from '../code'

// One shard's cell sentences to vectors.
process EMBED {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shard)
    path model, stageAs: 'model/*'
    val options
    val code

    output:
    path "${meta.id}.embedding.h5ad", emit: embeddings
    path "${meta.id}.embed.json", emit: stats
    tuple val(task.process), eval('c2s versions torch transformers tokenizers'), emit: versions

    script:
    """
    ${engine(task.cpus)}
    c2s embed --shard=${shard} --model=model --attempt=${task.attempt} ${cli(options)}
    """

    stub:
    """
    touch ${meta.id}.embedding.h5ad ${meta.id}.embed.json
    """
}
