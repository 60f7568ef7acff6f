include { cli } from '../code'

// How good the embeddings and predictions are, wherever there is something to compare them with.
// Before MERGE, which stores the tables in the results: so no file of these is written twice.
process EVALUATE {
    label 'process_medium'

    input:
    path samples
    path qc, stageAs: 'qc/*'
    path sentences, stageAs: 'sentences/*'
    path shards, stageAs: 'shards/*'
    path embeddings, stageAs: 'embeddings/*'
    path annotations, stageAs: 'annotations/*'
    path predictions, stageAs: 'perturbed/*'
    path generated, stageAs: 'generated/*'
    val options
    val code

    output:
    path 'evaluation/*.{tsv,json}', emit: tables
    tuple val(task.process), eval('c2s versions numpy pandas scanpy scikit-learn scipy || true'), emit: versions

    script:
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s evaluate --samples=${samples} --qc-dir=qc --sentences-dir=sentences --shards-dir=shards \\
        --embeddings-dir=embeddings ${annotations ? '--annotations-dir=annotations' : ''} \\
        ${predictions ? '--perturbed-dir=perturbed' : ''} ${generated ? '--generated-dir=generated' : ''} ${cli(options)}
    """

    stub:
    """
    mkdir evaluation
    touch evaluation/reconstruction.tsv evaluation/notes.json
    """
}
