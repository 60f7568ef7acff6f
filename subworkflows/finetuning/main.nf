include { FINETUNE } from '../../modules/finetune'
include { MODEL as TUNED_MODEL } from '../../modules/model'
include { code       } from '../../modules/code'
include { besideBase } from '../../modules/inputs'
include { byName; faultsIn } from '../../modules/run'

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
