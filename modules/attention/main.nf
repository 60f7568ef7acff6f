include { cli; engine } from '../code'

// The attention between the genes of the chosen cells of some shards.
process ATTENTION {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shards, arity: '1..*'), path(chosen, arity: '1..*')
    path model, stageAs: 'model/*'
    val options
    val code

    output:
    path '*.attention.h5', emit: maps
    tuple val(task.process), eval('c2s versions torch transformers tokenizers h5py || true'), emit: versions

    script:
    def files = shards.collect { shard -> "--shard=${shard}" } + chosen.collect { table -> "--chosen=${table}" }
    """
    ${engine(task.cpus)}
    c2s attention ${files.join(' ')} --model=model ${cli(options)}
    """

    stub:
    """
    touch ${shards.collect { shard -> "${shard.baseName}.attention.h5" }.join(' ')}
    """
}
