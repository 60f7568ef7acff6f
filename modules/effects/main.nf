include { cli } from '../code'

// What the perturbations do to each gene, and to gene sets if a file of them is given.
process EFFECTS {
    label 'process_medium'

    input:
    path sentences, stageAs: 'sentences/*'
    path shards, stageAs: 'shards/*'
    path predictions, stageAs: 'perturbed/*'
    path gene_sets, stageAs: 'gene_sets/*'
    val options
    val code

    output:
    tuple path('perturbation/*.tsv'), path('effects.json'), emit: results
    tuple val(task.process), eval('c2s versions numpy pandas scipy || true'), emit: versions

    script:
    def named = [gene_sets: null, gene_sets_file: gene_sets ? gene_sets.name : null]
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s effects --sentences-dir=sentences --shards-dir=shards --perturbed-dir=perturbed \\
        ${cli(options + named)}
    """

    stub:
    """
    mkdir perturbation
    touch perturbation/perturbation_effects.tsv effects.json
    ${gene_sets ? 'touch perturbation/screen.tsv' : ''}
    """
}
