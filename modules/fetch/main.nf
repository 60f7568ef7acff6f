include { cli } from '../code'

// A Hugging Face model to a folder that stays in --model_cache, through the network.
process FETCH {
    tag "${origin.model} ${origin.model_revision}"
    label 'process_single'

    input:
    val origin // [model: Hugging Face id, model_revision: revision]

    output:
    path "${folder}", emit: folder

    script:
    folder = "${origin.model}@${origin.model_revision}".replaceAll(/[^\w.@-]/, '--')
    """
    export HF_HUB_OFFLINE=0
    c2s fetch ${cli(origin)} --outdir=${folder}
    """

    stub:
    folder = "${origin.model}@${origin.model_revision}".replaceAll(/[^\w.@-]/, '--')
    """
    mkdir ${folder}
    touch ${folder}/config.json ${folder}/model.safetensors ${folder}/tokenizer.json
    echo '{}' > ${folder}/c2s_source.json
    """
}
