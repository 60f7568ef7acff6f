include { cli; engine } from '../code'

// BERTScore of what the model generated against reference text.
process TEXT_SCORES {
    label 'process_gpu'

    input:
    path shards, stageAs: 'shards/*'
    path annotations, stageAs: 'annotations/*'
    path predictions, stageAs: 'perturbed/*'
    path encoder, stageAs: 'encoder/*'
    val options
    val code

    output:
    path 'text_scores.tsv', emit: table
    tuple val(task.process), eval('c2s versions torch torchmetrics transformers || true'), emit: versions

    script:
    """
    ${engine(task.cpus)}
    c2s text-scores --shards-dir=shards --encoder-dir=encoder \\
        ${annotations ? '--annotations-dir=annotations' : ''} \\
        ${predictions ? '--perturbed-dir=perturbed' : ''} ${cli(options)}
    """

    stub:
    """
    touch text_scores.tsv
    """
}
