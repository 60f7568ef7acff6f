include { cli; versions } from '../code'

// Which cells are perturbed with what, for all samples: a table for each shard that holds some.
process PLAN {
    label 'process_single'

    input:
    path cells, stageAs: 'cells/*'
    path perturbations, stageAs: 'perturbations/*'
    val options
    val code

    output:
    path 'plans/*.plan.parquet', arity: '1..*', emit: plans
    path 'plan.json', emit: counts
    tuple val(task.process), eval("${versions('pandas')}"), emit: versions

    script:
    def named = perturbations ? [perturbations: null, perturbations_file: perturbations.name] : [:]
    """
    c2s_plan.py --cells-dir=cells ${cli(options + named)}
    """

    stub:
    """
    mkdir plans
    echo '{}' > plan.json
    for cells in cells/*.obs.parquet; do
        touch plans/\$(basename \$cells .obs.parquet).0000{0,2}.plan.parquet
    done
    """
}
