include { BENCHMARK } from '../../modules/benchmark'
include { CARD   } from '../../modules/card'
include { EXPORT } from '../../modules/export'
include { MERGE  } from '../../modules/merge'
include { REPORT } from '../../modules/report'
include { code   } from '../../modules/code'
include { byName; readJson; toJson } from '../../modules/channels'

// Everything that a run makes, merged, and the report of it.
workflow RESULTS {
    take:
    made       // [input, cells, finetuning, embedding, annotation, …: outputs of these steps]
    evaluation // [table], or []
    provenance // [name, version, revision: of the pipeline]
    multiqc    // configuration of the report's page

    main:
    CARD(made.finetuning.card, evaluation, code('card'))
    MERGE(
        made.input.sheet, made.input.parameters, made.finetuning.description, byName(made.cells.cells.mix(made.cells.qc)),
        byName(made.cells.sentences), byName(made.embedding.embeddings), byName(made.annotation.annotations),
        byName(made.perturbation.predictions), made.perturbation.counts, evaluation, byName(made.generation.cells),
        byName(made.groups), toJson(provenance), code('merge'),
    )
    MERGE.out.notices.subscribe { json -> readJson(json).warnings.each { line -> log.warn(line) } }
    // [c2s.h5ad or c2s.zarr, c2s_perturbed.h5ad]
    both = MERGE.out.results.filter { _cells, perturbed, _tables -> perturbed }.map { cells, perturbed, _tables -> [cells, perturbed[0]] }
    exporting = made.input.options.filter { steps -> steps.asked_for.export }.map { steps -> steps.export }
    EXPORT(both, exporting, code('export'))
    scoring = made.input.options.filter { steps -> steps.asked_for.benchmark }.map { steps -> steps.benchmark }
    BENCHMARK(both, scoring, code('benchmark'))
    // [table] of EVALUATE and BENCHMARK
    scores = evaluation.map { files -> [files] }.combine(BENCHMARK.out.tables.map { files -> [files] }.ifEmpty([[]]))
        .map { one, other -> one + other }
    stats = made.embedding.stats.mix(made.annotation.stats, made.perturbation.stats, made.generation.stats, MERGE.out.notices, MERGE.out.group_record)
    // MERGE.out.results: [c2s.h5ad or c2s.zarr, [c2s_perturbed.h5ad] or [], [table of the predictions] or []]
    REPORT(
        MERGE.out.results, byName(made.cells.qc), byName(made.cells.sentences), byName(stats), made.attention.pairs,
        made.perturbation.effects, scores, MERGE.out.generated_summary, made.finetuning.record, multiqc,
        made.input.options.map { steps -> steps.report }, code('report'),
    )
    versions = CARD.out.versions.mix(MERGE.out.versions, EXPORT.out.versions, BENCHMARK.out.versions, REPORT.out.versions)

    emit:
    versions
}
