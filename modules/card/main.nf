// The card of a trained model, with its figures on held-out cells.
process CARD {
    label 'process_single'

    input:
    path card, stageAs: 'written/*' // README.md of FINETUNE
    path evaluation, stageAs: 'evaluation/*' // tables of EVALUATE, or []
    val code

    output:
    path 'model/README.md', emit: card
    tuple val(task.process), eval('c2s versions pandas || true'), emit: versions

    script:
    def scores = evaluation ? '--evaluation-dir=evaluation' : ''
    """
    c2s card --card=written/README.md ${scores} --outdir=model
    """

    stub:
    """
    mkdir model
    touch model/README.md
    """
}
