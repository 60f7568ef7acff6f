include { FINETUNE } from '../../modules/finetune'
include { code     } from '../../modules/code'
include { besideBase } from '../../modules/inputs'
include { byName   } from '../../modules/run'

// The model of the run: the base, or what is trained from it. Without --finetune no options come,
// and nothing is trained.
workflow FINETUNING {
    take:
    shards      // [meta of the shard, shard, sentences.json]
    sentences   // <sample>.sentences.json
    base        // [file of the base model], or [] to begin from scratch
    base_id     // its name, or null if its files say it
    checkpoints // folder that outlives tasks, or ''
    options     // [step: [option: value]]

    main:
    finetuning = options.filter { steps -> steps.finetune.tasks }
    FINETUNE(
        byName(shards.map { _meta, shard, _genes -> shard }), byName(sentences), base,
        finetuning.map { steps -> steps.finetune + [base_id: base_id] }, finetuning.map { steps -> steps.n_processes },
        checkpoints, code('finetune'),
    )

    // An adapter stands beside the files of its base.
    files = base.map { own -> [own] }.combine(options)
    tuned = FINETUNE.out.model
        .map { made -> [made] }
        .combine(files)
        .map { made, own, _steps -> besideBase(made, own) }
    untouched = files.filter { _own, steps -> !steps.finetune.tasks }.map { own, _steps -> own }
    model = tuned.mix(untouched).first()
    record = FINETUNE.out.record.ifEmpty([])
    card = FINETUNE.out.model.map { made -> made.find { item -> item.name == 'README.md' } }
    versions = FINETUNE.out.versions

    emit:
    model  // [file of the model]
    record // [finetune.json, loss.tsv], or []
    card   // README.md of the trained model, if one was trained
    versions
}
