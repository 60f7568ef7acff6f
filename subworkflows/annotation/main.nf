include { ANNOTATE } from '../../modules/annotate'
include { code     } from '../../modules/code'

// Cell types, if asked for.
workflow ANNOTATION {
    take:
    shards  // [meta of the shard, shard, sentences.json]
    model   // [file of the model]
    options // [step: [option: value]]

    main:
    asked_for = shards
        .combine(options)
        .filter { _meta, _shard, _genes, steps -> steps.asked_for.annotate }
        .map { meta, shard, _genes, _steps -> [meta, shard] }
    ANNOTATE(asked_for, model, options.map { steps -> steps.annotate }, code('annotate'))
    annotations = ANNOTATE.out.annotations
    stats = ANNOTATE.out.stats
    versions = ANNOTATE.out.versions

    emit:
    annotations // <shard>.annotation.parquet
    stats       // <shard>.annotate.json
    versions
}
