include { CARD   } from '../../modules/card'
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
    stats = made.embedding.stats.mix(made.annotation.stats, made.perturbation.stats, made.generation.stats, MERGE.out.notices, MERGE.out.group_record)
    // MERGE.out.results: [c2s.h5ad, [c2s_perturbed.h5ad] or [], [table of the predictions] or []]
    REPORT(
        MERGE.out.results, byName(made.cells.qc), byName(made.cells.sentences), byName(stats), made.attention.pairs,
        made.perturbation.effects, evaluation, MERGE.out.generated_summary, made.finetuning.record, multiqc,
        made.input.options.map { steps -> steps.report }, code('report'),
    )
    versions = CARD.out.versions.mix(MERGE.out.versions, REPORT.out.versions)

    emit:
    versions
}
