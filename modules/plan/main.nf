include { cli } from '../code'

// Which cells are perturbed with what, for all samples: a table for each shard that holds some.
// plan.log reports how much work that is; main.nf shows it.
process PLAN {
    label 'process_single'

    input:
    path cells, stageAs: 'cells/*'
    path sentences, stageAs: 'sentences/*'
    path perturbations, stageAs: 'perturbations/*'
    path model, stageAs: 'model/*' // tokenizer.json, config.json and, if there is one, c2s_model.json
    val options
    val code

    output:
    path 'plans/*.plan.parquet', arity: '1..*', emit: plans
    path 'plan.json', emit: counts
    path 'plan.log', emit: log
    tuple val(task.process), eval('c2s versions pandas tokenizers || true'), emit: versions

    script:
    def named = perturbations ? [perturbations: null, perturbations_file: perturbations.name] : [:]
    """
    c2s plan --cells-dir=cells --sentences-dir=sentences --model=model ${cli(options + named)} 2>&1 | tee plan.log
    """

    stub:
    """
    mkdir plans
    echo '{}' > plan.json
    echo 'stub: nothing was planned' > plan.log
    for cells in cells/*.obs.parquet; do
        touch plans/\$(basename \$cells .obs.parquet).0000{0,2}.plan.parquet
    done
    """
}
