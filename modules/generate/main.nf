include { cli; engine } from '../code'

// Generated cells of one task: sentences that the model generates for cell types, or for none.
process GENERATE {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    val meta // id, task: its number
    path samples // samples.json
    path sentences, stageAs: 'sentences/*' // of all samples: the genes that may be predicted
    path model, stageAs: 'model/*'
    path vocabulary, stageAs: 'vocabulary/*'
    val options
    val code

    output:
    path "${meta.id}.generated.parquet", emit: cells
    path "${meta.id}.generate.json", emit: stats
    tuple val(task.process), eval('c2s versions torch transformers tokenizers || true'), emit: versions

    script:
    def named = [gene_vocabulary: null, gene_vocabulary_file: vocabulary ? vocabulary.name : null]
    """
    ${engine(task.cpus)}
    c2s generate --task=${meta.task} --samples=${samples} --sentences-dir=sentences --model=model \\
        --attempt=${task.attempt} ${cli(options + named)}
    """

    stub:
    """
    touch ${meta.id}.generated.parquet ${meta.id}.generate.json
    """
}
