// Both workflows of models: 25.04's strict parser takes no second include of MODEL in another file.

include { FETCH; FETCH as FETCH_ENCODER } from '../../modules/fetch'
include { FINETUNE   } from '../../modules/finetune'
include { MODEL; MODEL as TUNED_MODEL } from '../../modules/model'
include { code       } from '../../modules/code'
include { besideBase; fetchedFiles } from '../../modules/inputs'
include { byName; faultsIn } from '../../modules/channels'

// The models that a run starts from, fetched if they are not here, and checked before any step uses
// them. The cells are prepared meanwhile.
workflow MODELS {
    take:
    local   // [file of a local model], or []
    missing // what is to be fetched: [option of FETCH: value], or null if everything is here
    encoder // [file of a local text encoder], or []
    options // [step: [option: value]]

    main:
    FETCH(options.filter { _steps -> missing != null }.map { steps -> steps.fetch + missing })
    found = missing == null
        ? channel.value(local)
        : FETCH.out.folder.map { folder -> local + fetchedFiles(folder) }.first()
    FETCH_ENCODER(options.filter { steps -> steps.asked_for.text_scores && !encoder }.map { steps -> steps.fetch_encoder })
    text_encoder = encoder
        ? channel.value(encoder)
        : FETCH_ENCODER.out.folder.map { folder -> fetchedFiles(folder) }.ifEmpty([])

    MODEL(found, text_encoder, options.map { steps -> steps.model }, code('model'))
    MODEL.out.report.subscribe { report ->
        def faults = faultsIn(report)
        if (faults) {
            error(faults)
        }
    }
    description = MODEL.out.description
    base = found.map { files -> [files] }.combine(description).map { files, _json -> files }.first()
    versions = MODEL.out.versions

    emit:
    base         // [file of the model], [] where one is trained from scratch
    text_encoder // [file of the text encoder], or []
    description  // model.json: comes, as base does, when the models are known to be whole
    versions
}

// The model of the run: the base, or what is trained from it. Without --finetune no options come,
// and nothing is trained.
workflow FINETUNING {
    take:
    shards      // [meta of the shard, shard, sentences.json]
    sentences   // <sample>.sentences.json
    base        // [file of the base model], or [] to begin from scratch
    base_id     // its name, or null if its files hold it
    described   // model.json of the base
    checkpoints // folder that outlives tasks, or ''
    options     // [step: [option: value]]

    main:
    finetuning = options.filter { steps -> steps.asked_for.finetune }
    FINETUNE(
        byName(shards.map { _meta, shard, _genes -> shard }), byName(sentences), base,
        finetuning.map { steps -> steps.finetune + [base_id: base_id] }, finetuning.map { steps -> steps.n_tasks.finetune },
        checkpoints, code('finetune'),
    )

    // An adapter is used together with the files of its base.
    files = base.map { own -> [own] }.combine(options)
    tuned = FINETUNE.out.model
        .map { made -> [made] }
        .combine(files)
        .map { made, own, _steps -> besideBase(made, own) }
    untouched = files.filter { _own, steps -> !steps.asked_for.finetune }.map { own, _steps -> own }
    model = tuned.mix(untouched).first()

    TUNED_MODEL(model, [], finetuning.map { steps -> steps.tuned_model }, code('model'))
    TUNED_MODEL.out.report.subscribe { report ->
        def faults = faultsIn(report)
        if (faults) {
            error(faults)
        }
    }
    description = TUNED_MODEL.out.description
        .mix(described.combine(options).filter { _json, steps -> !steps.asked_for.finetune }.map { json, _steps -> json })
        .first()
    record = FINETUNE.out.record.ifEmpty([])
    card = FINETUNE.out.model.map { made -> made.find { item -> item.name == 'README.md' } }
    versions = FINETUNE.out.versions.mix(TUNED_MODEL.out.versions)

    emit:
    model       // [file of the model]
    description // model.json of it
    record      // [finetune.json, loss.tsv], or []
    card        // README.md of the trained model, if one was trained
    versions
}
