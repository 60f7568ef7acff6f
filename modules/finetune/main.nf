include { cli; engine; mounted; quote } from '../code'

// A model trained on the cells of all samples. A killed training resumes from its last checkpoint.
process FINETUNE {
    tag "${options.finetune_method}"
    label 'process_gpu'
    label 'process_long'
    containerOptions { mounted(checkpoints) }
    ext mounts: { mounted(checkpoints) } // for the profiles, whose containerOptions take the place of these

    input:
    path shards, stageAs: 'shards/*'
    path sentences, stageAs: 'sentences/*'
    path base, stageAs: 'base/*' // or [], to begin from scratch
    val options
    val n_processes // one a GPU
    val checkpoints // folder that outlives the task, or '' for one within it
    val code

    output:
    path 'model/*', emit: model
    path 'adapter/*', emit: adapter, optional: true // beside the model that has taken it in
    path '{finetune.json,loss.tsv}', emit: record
    path 'splits.tsv', emit: splits
    path 'splits.toml', emit: state, optional: true // the split in STATE's form, where that has words for it
    tuple val(task.process), eval('c2s versions accelerate bitsandbytes peft tokenizers torch transformers || true'), emit: versions

    script:
    def launch = "accelerate launch --num_processes=${n_processes} --num_machines=1 --mixed_precision=no --dynamo_backend=no --main_process_port=0 \$(command -v c2s) finetune"
    """
    ${engine(task.cpus)}
    ${n_processes > 1 ? launch : 'c2s finetune'} --shards-dir=shards --sentences-dir=sentences \\
        ${base ? '--model=base' : ''} --checkpoints=${quote(checkpoints ?: 'checkpoints')} \\
        --attempt=${task.attempt} ${cli(options)}
    """

    stub:
    """
    mkdir model
    touch model/config.json model/model.safetensors model/tokenizer.json model/README.md
    touch finetune.json loss.tsv splits.tsv
    """
}
