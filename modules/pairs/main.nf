// The gene pairs with the strongest attention, of each label.
process PAIRS {
    label 'process_single'

    input:
    path maps, stageAs: 'maps/*'
    val code

    output:
    path 'attention_pairs.tsv', emit: table
    tuple val(task.process), eval('c2s versions h5py numpy pandas || true'), emit: versions

    script:
    """
    c2s pairs --maps-dir=maps
    """

    stub:
    """
    touch attention_pairs.tsv
    """
}
