include { cli; engine } from '../code'

// Planned perturbations of shards' cells to predicted cell sentences.
process PERTURB {
    tag "${meta.id}"
    label 'process_gpu'

    input:
    tuple val(meta), path(shards, arity: '1..*'), path(genes, arity: '1..*'), path(plans, arity: '1..*')
    path model, stageAs: 'model/*'
    path vocabulary, stageAs: 'vocabulary/*'
    val options
    val code

    output:
    path '*.perturbed.parquet', emit: predictions
    path '*.perturb.json', emit: stats
    tuple val(task.process), eval('c2s versions torch transformers tokenizers || true'), emit: versions

    script:
    def files = shards.collect { shard -> "--shard=${shard}" } + genes.collect { list -> "--genes=${list}" } + plans.collect { plan -> "--plan=${plan}" }
    def named = [gene_vocabulary: null, gene_vocabulary_file: vocabulary ? vocabulary.name : null]
    """
    ${engine(task.cpus)}
    c2s perturb ${files.join(' ')} --model=model --attempt=${task.attempt} ${cli(options + named)}
    """

    stub:
    """
    touch ${shards.collect { shard -> "${shard.baseName}.perturbed.parquet ${shard.baseName}.perturb.json" }.join(' ')}
    """
}
