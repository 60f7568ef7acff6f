include { cli } from '../code'

// Checks that a model is whole before any step uses it, and describes it: id, revision, digest of the
// weights, shape, memory. Its report is the lines for the log (model.log) or the faults (faults.txt), shown by main.nf.
process MODEL {
    tag "${options.model}"
    label 'process_single'

    input:
    path model, stageAs: 'model/*' // [file of the model], or [] where one is trained from scratch
    path encoder, stageAs: 'text_encoder/*' // [file of the text encoder], or []
    val options // [model: as the results call it, prompts: JSON, what the model is asked, device: where it will run ...]
    val code

    output:
    path '{model.log,faults.txt}', emit: report
    path 'model.json', optional: true, emit: description
    tuple val(task.process), eval('c2s versions torch transformers peft safetensors || true'), emit: versions

    script:
    def folders = (model ? [model_dir: 'model'] : [:]) + (encoder ? [text_encoder_dir: 'text_encoder'] : [:])
    def here = [here: task.executor in [null, 'local']] // then the memory of this machine is that of the GPU steps
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s model ${cli(options + folders + here)}
    """

    stub:
    """
    echo '{}' > model.json
    echo 'stub: no model was checked' > model.log
    """
}
