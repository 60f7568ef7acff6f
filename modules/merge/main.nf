include { quote } from '../code'

// All samples and shards to the results.
process MERGE {
    label 'process_medium'

    input:
    path samples
    path parameters
    path model
    path qc, stageAs: 'qc/*'
    path sentences, stageAs: 'sentences/*'
    path embeddings, stageAs: 'embeddings/*'
    path annotations, stageAs: 'annotations/*'
    path predictions, stageAs: 'perturbed/*'
    path plan // plan.json, or [] if nothing is perturbed
    path evaluation, stageAs: 'evaluation/*' // tables of EVALUATE, or []
    path generated, stageAs: 'generated/*'
    path groups, stageAs: 'groups/*' // what GROUPS and the steps after it wrote, or []
    val provenance // JSON: name, version and revision of the pipeline
    val code

    output:
    tuple path('c2s.{h5ad,zarr}'), path('c2s_perturbed.h5ad', arity: '0..*'), path('perturbation/*.tsv', arity: '0..*'), emit: results
    path 'c2s_generated.h5ad', optional: true, emit: generated
    path 'c2s_groups.h5ad', optional: true, emit: groups
    path 'groups.json', optional: true, emit: group_record // for the report
    path 'generation/summary.tsv', arity: '0..*', emit: generated_summary // or []
    path 'merge.json', emit: notices
    tuple val(task.process), eval('c2s versions anndata h5py pandas pyarrow scanpy umap-learn || true'), emit: versions

    script:
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s merge --samples=${samples} --parameters=${parameters} --model=${model} \\
        --qc-dir=qc --sentences-dir=sentences --embeddings-dir=embeddings \\
        ${annotations ? '--annotations-dir=annotations' : ''} ${evaluation ? '--evaluation-dir=evaluation' : ''} \\
        ${generated ? '--generated-dir=generated' : ''} ${groups ? '--groups-dir=groups' : ''} \\
        ${predictions ? "--perturbed-dir=perturbed --plan=${plan}" : ''} --provenance=${quote(provenance)}
    """

    stub:
    """
    touch c2s.h5ad
    echo '{"sample": "merging", "warnings": []}' > merge.json
    ${predictions ? 'mkdir perturbation; touch c2s_perturbed.h5ad perturbation/summary.tsv' : ''}
    ${groups ? 'touch c2s_groups.h5ad groups.json' : ''}
    ${generated ? 'mkdir generation; touch c2s_generated.h5ad generation/summary.tsv' : ''}
    """
}
