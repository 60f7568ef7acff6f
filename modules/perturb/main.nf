include { cli; engine } from '../code'

// One shard's planned perturbations to predicted cell sentences.
process PERTURB {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shard), path(genes), path(plan)
    path model, stageAs: 'model/*'
    path vocabulary, stageAs: 'vocabulary/*'
    val options
    val code

    output:
    path "${meta.id}.perturbed.parquet", emit: predictions
    path "${meta.id}.perturb.json", emit: stats
    tuple val(task.process), eval('c2s versions torch transformers tokenizers'), emit: versions

    script:
    def named = [gene_vocabulary: null, gene_vocabulary_file: vocabulary ? vocabulary.name : null]
    """
    ${engine(task.cpus)}
    c2s perturb --shard=${shard} --genes=${genes} --plan=${plan} --model=model --attempt=${task.attempt} ${cli(options + named)}
    """

    stub:
    """
    touch ${meta.id}.perturbed.parquet ${meta.id}.perturb.json
    """
}
