include { ANNOTATE; ANNOTATE as ANNOTATE_GROUPS } from '../../modules/annotate'
include { INTERPRET } from '../../modules/interpret'
include { code } from '../../modules/code'

// Labels of cells, and labels of groups of cells and texts about them, if asked for.
workflow ANNOTATION {
    take:
    packs   // [[id], [shard]]
    groups  // [meta of the shard, shard] of groups
    model   // [file of the model]
    options // [step: [option: value]]

    main:
    asked_for = packs
        .combine(options)
        .filter { _meta, _shards, steps -> steps.asked_for.annotate }
        .map { meta, shards, _steps -> [meta, shards] }
    ANNOTATE(asked_for, model, options.map { steps -> steps.annotate }, code('annotate'))
    annotations = ANNOTATE.out.annotations
    stats = ANNOTATE.out.stats

    of_groups = groups
        .combine(options)
        .filter { _meta, _shard, steps -> steps.asked_for.annotate_groups }
        .map { meta, shard, _steps -> [meta, shard] }
    ANNOTATE_GROUPS(of_groups, model, options.map { steps -> steps.annotate_groups }, code('annotate'))
    interpreted = groups
        .combine(options)
        .filter { _meta, _shard, steps -> steps.asked_for.interpret }
        .map { meta, shard, _steps -> [meta, shard] }
    INTERPRET(interpreted, model, options.map { steps -> steps.interpret }, code('interpret'))
    group_files = ANNOTATE_GROUPS.out.annotations.mix(ANNOTATE_GROUPS.out.stats, INTERPRET.out.texts, INTERPRET.out.stats)
    versions = ANNOTATE.out.versions.mix(ANNOTATE_GROUPS.out.versions, INTERPRET.out.versions)

    emit:
    annotations // <shard>.annotation.parquet
    stats       // <shard>.annotate.json
    group_files // the same, <shard>.interpretation.parquet and <shard>.interpret.json, of groups
    versions
}
