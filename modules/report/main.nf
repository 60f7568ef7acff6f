include { cli } from '../code'

// What the run found, as one page.
process REPORT {
    label 'process_medium'

    input:
    tuple path(cells), path(perturbed), path(tables)
    path qc, stageAs: 'qc/*'
    path sentences, stageAs: 'sentences/*'
    path stats, stageAs: 'stats/*'
    path attention_pairs // attention_pairs.tsv, or [] without attention maps
    tuple path(effects, stageAs: 'effects/*'), path(notes, stageAs: 'effects/*') // of EFFECTS, or []
    path evaluation, stageAs: 'evaluation/*' // tables and notes.json of EVALUATE, or []
    path generated, stageAs: 'generation/*' // table of MERGE, or []
    path training, stageAs: 'training/*' // finetune.json and loss.tsv of FINETUNE, or []
    path multiqc_config
    val options
    val code

    output:
    path 'report.html', emit: report
    path 'verdict.json', emit: verdict // what the log ends with: findings and warnings
    tuple val(task.process), eval('c2s versions multiqc umap-learn scikit-learn || true'), emit: versions

    script:
    def predicted = perturbed
        ? '--perturbed=c2s_perturbed.h5ad --perturbation-summary=summary.tsv'
        : ''
    def changes = effects ? '--effects-dir=effects' : ''
    def made = generated ? '--generated-summary=generation/summary.tsv' : ''
    def scores = evaluation ? '--evaluation-dir=evaluation' : ''
    def trained = training ? '--training-dir=training' : ''
    def attention = attention_pairs ? "--attention-pairs=${attention_pairs}" : ''
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s report --h5ad=${cells} ${predicted} ${changes} ${scores} ${trained} ${attention} ${made} --qc-dir=qc --sentences-dir=sentences \\
        --stats-dir=stats --multiqc-config=${multiqc_config} ${cli(options)}
    """

    stub:
    """
    echo '<table><tr hidden class="c2s-of-the-run"></tr></table>' > report.html
    echo '{"poor": ["stub: no figure"], "good": [], "warnings": ["stub: no warning"]}' > verdict.json
    """
}
