include { cli; engine } from '../code'

// The attention between the genes of one shard's chosen cells.
process ATTENTION {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shard), path(chosen)
    path model, stageAs: 'model/*'
    val options
    val code

    output:
    path "${meta.id}.attention.h5", emit: maps
    tuple val(task.process), eval('c2s versions torch transformers tokenizers h5py || true'), emit: versions

    script:
    """
    ${engine(task.cpus)}
    c2s attention --shard=${shard} --chosen=${chosen} --model=model ${cli(options)}
    """

    stub:
    """
    touch ${meta.id}.attention.h5
    """
}
