include { EFFECTS } from '../../modules/effects'
include { PERTURB } from '../../modules/perturb'
include { PLAN    } from '../../modules/plan'
include { code    } from '../../modules/code'
include { byName  } from '../../modules/channels'

// Perturbed cells, and what the perturbations do to genes. Without perturbations no options come,
// and nothing runs.
workflow PERTURBATION {
    take:
    shards        // [meta of the shard, shard, sentences.json]
    cells         // <sample>.obs.parquet
    sentences     // <sample>.sentences.json
    model         // [file of the model]
    named         // [parameter: [file that it names] or []]
    options       // [step: [option: value]]

    main:
    predicting = options.filter { steps -> steps.asked_for.plan }
    // [tokenizer.json, config.json, c2s_model.json or c2s_source.json if there is one]
    tokenizer = model.map { files -> files.findAll { item -> item.name in ['tokenizer.json', 'config.json', 'c2s_model.json', 'c2s_training.json', 'c2s_source.json'] } }
    PLAN(
        byName(cells), byName(sentences), named.perturbations, tokenizer,
        predicting.map { steps -> steps.plan }, code('plan'),
    )
    PLAN.out.log.subscribe { plan -> log.info(plan.text.trim()) }

    // [name of the shard, the cells of it to perturb]
    plans = PLAN.out.plans.flatten().map { plan -> [plan.name - '.plan.parquet', plan] }

    // [meta of the shard, shard, sentences.json, plan]
    planned = shards.map { meta, shard, genes -> [meta.id, meta, shard, genes] }.join(plans).map { row -> row.tail() }
    // [[id], [shard], [sentences.json], [plan]]: those of small samples together
    packs = planned
        .combine(options)
        .map { meta, shard, genes, plan, steps -> [steps.packs[meta.sample]?.id ?: meta.id, [shard, genes, plan]] }
        .groupTuple()
        .map { id, rows -> [[id: id]] + rows.sort { row -> row[0].name }.transpose().collect { files -> files.unique() } }
    PERTURB(packs, model, named.gene_vocabulary, options.map { steps -> steps.perturb }, code('perturb'))
    EFFECTS(
        byName(sentences), byName(planned.map { _meta, shard, _genes, _plan -> shard }),
        byName(PERTURB.out.predictions), named.gene_sets, predicting.map { steps -> steps.effects }, code('effects'),
    )

    counts = PLAN.out.counts.ifEmpty([])
    predictions = PERTURB.out.predictions
    stats = PERTURB.out.stats
    effects = EFFECTS.out.results.ifEmpty([[], []])
    versions = PLAN.out.versions.mix(PERTURB.out.versions, EFFECTS.out.versions)

    emit:
    packs       // [[id], [shard], [sentences.json], [the cells of it to perturb]]
    counts      // plan.json, or []
    predictions // a file for each shard that holds cells to perturb
    stats       // and another
    effects     // [[tables], effects.json], or [[], []]
    versions
}
