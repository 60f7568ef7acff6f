include { cli } from '../code'

// What the run records of the model: id, revision, digest of the weights, shape.
process MODEL {
    tag "${origin.model}"
    label 'process_single'

    input:
    path model, stageAs: 'model/*'
    val origin // [model: as the results call it]
    val code

    output:
    path 'model.json', emit: description
    tuple val(task.process), eval('c2s_versions.py huggingface-hub'), emit: versions

    script:
    """
    c2s_model.py --model-dir=model ${cli([source: origin.model])}
    """

    stub:
    """
    echo '{}' > model.json
    """
}
