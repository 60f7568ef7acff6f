#!/usr/bin/env nextflow
// c2sflow: Cell2Sentence-Scale on any AnnData file, embeddings and perturbation prediction.

include { ANNOTATE  } from './modules/annotate'
include { CARD      } from './modules/card'
include { DEMO      } from './modules/demo'
include { EMBED     } from './modules/embed'
include { FETCH; FETCH as FETCH_ENCODER } from './modules/fetch'
include { GENERATE  } from './modules/generate'
include { MERGE     } from './modules/merge'
include { MODEL; MODEL as TUNED_MODEL } from './modules/model'
include { QC        } from './modules/qc'
include { REPORT    } from './modules/report'
include { SENTENCES } from './modules/sentences'
include { VALIDATE  } from './modules/validate'

include { ATTENTION_MAPS } from './subworkflows/attention_maps'
include { EVALUATION     } from './subworkflows/evaluation'
include { FINETUNING     } from './subworkflows/finetuning'
include { PERTURBATION   } from './subworkflows/perturbation'

include { code } from './modules/code'
include { baseId; findInput; findModel; folderForTasks; modelFiles; optionalFile; toFetch } from './modules/inputs'
include { helpText; summary } from './modules/parameters'
include { placeFaults } from './modules/places'
include { byName; faultsIn; madeBy; readJson; revision; stepOptions; taskName; tellResults; toJson; toYaml } from './modules/run'

workflow {
    if ("${params.help}" != 'false') {
        println(helpText(params.help))
        return
    }
    commit = workflow.commitId ?: revision()
    log.info(summary(params, commit))

    // [file of the model folder], or [] for a Hugging Face id; and what is still to be fetched, or null
    from_scratch = params.finetune && params.finetune_method == 'scratch'
    local_model = from_scratch ? [] : findModel(params.model, params.base_model)
    to_fetch = from_scratch ? null : toFetch(local_model, params.base_model)
    local_encoder = findModel(params.text_encoder)
    misplaced = placeFaults(workflow.profile, params, workDir, to_fetch != null || (params.text_encoder && !local_encoder))
    if (misplaced) {
        error(misplaced)
    }
    record = "${params.outdir}/pipeline_info"
    channel.of(groovy.json.JsonOutput.prettyPrint(toJson(params))).collectFile(name: 'params.json', storeDir: record)

    // source: [samplesheet or [], [data file], [for each row the index of its file, or null]]
    source = (params.input == 'demo' ? DEMO(code('demo')).sheet : channel.value("${params.input ?: ''}"))
        .map { input -> findInput(input) }

    // [perturbations, embedding prompt, perturbation prompt, gene sets, gene vocabulary, cell types,
    // annotation prompt, generation prompt, gene symbols]: [file], or [] if no file is named; to them, for
    // VALIDATE, the local encoder
    texts = [
            params.perturbations, params.embedding_prompt, params.perturbation_prompt, params.gene_sets,
            params.gene_vocabulary, params.cell_types, params.annotation_prompt, params.generation_prompt,
            params.gene_symbols,
        ]
        .collect { value -> optionalFile(value) }

    schemas = files("${projectDir}/{nextflow_schema.json,assets/schema_input.json}")
    VALIDATE(source, texts + [local_encoder], local_model, toJson(params), schemas, code('validate'))
    VALIDATE.out.report.subscribe { report ->
        def faults = faultsIn(report)
        if (faults) {
            error(faults)
        }
    }

    // options: [step: [option: checked value]]; everything below waits for it
    options = VALIDATE.out.options.map { file -> stepOptions(readJson(file)) }

    // base: [file of the model that is given]
    base = to_fetch == null
        ? channel.value(local_model)
        : FETCH(options.map { steps -> steps.model + to_fetch }).folder.map { folder -> local_model + modelFiles(folder) }

    // [file of the text encoder]; of the hub only if one is named. (Here, for 25.04's strict parser
    // takes no second include of FETCH elsewhere.)
    FETCH_ENCODER(options.map { steps -> steps.text_encoder }.filter { named -> named.model && !local_encoder })
    encoder = local_encoder
        ? channel.value(local_encoder)
        : FETCH_ENCODER.out.folder.map { folder -> modelFiles(folder) }.ifEmpty([])

    // No cell is read before the model is known to be whole. Tasks wait for its description, but do not
    // depend on what it holds.
    MODEL(base, encoder, options.map { steps -> steps.checked }, code('model'))
    whole = MODEL.out.description

    // [meta of samples.json, data file]
    samples = VALIDATE.out.samples
        .combine(source)
        .combine(whole)
        .flatMap { list, _sheet, data, rows, _whole ->
            readJson(list).collect { meta -> [meta.findAll { key, _value -> key != 'input' }, data[rows[meta.input]]] }
        }
    // QC.out.cells: [meta, h5ad]
    QC(samples, texts[8], options.map { steps -> steps.qc }, code('qc'))

    // SENTENCES.out.shards: [meta, [shard], sentences.json]
    SENTENCES(QC.out.cells, options.map { steps -> steps.sentences }, code('sentences'))

    // [[id: name of the shard, sample: id of its sample], shard, sentences.json]
    shards = SENTENCES.out.shards
        .transpose(by: 1)
        .map { meta, shard, genes -> [[id: shard.baseName, sample: meta.id], shard, genes] }

    // model: [file of the model], fine-tuned if asked for
    checkpoints = params.finetune ? folderForTasks(params.checkpoint_dir, 'finetune_checkpoints') : ''
    FINETUNING(shards, SENTENCES.out.summary, base, baseId(params.model, local_model), checkpoints, options)
    model = FINETUNING.out.model
    tuned = options.filter { steps -> steps.finetune.tasks }.map { steps -> steps.checked + [model: steps.tuned] }
    TUNED_MODEL(model, [], tuned, code('model'))
    MODEL.out.report.mix(TUNED_MODEL.out.report).subscribe { report ->
        def faults = faultsIn(report)
        if (faults) {
            error(faults)
        }
    }
    EMBED(shards.map { meta, shard, _genes -> [meta, shard] }, model, options.map { steps -> steps.embed }, code('embed'))

    // Cell types, if asked for: [meta of the shard, shard] of every shard, or none
    annotated = shards
        .combine(options)
        .filter { _meta, _shard, _genes, steps -> steps.annotating }
        .map { meta, shard, _genes, _steps -> [meta, shard] }
    ANNOTATE(annotated, model, options.map { steps -> steps.annotate }, code('annotate'))

    // Generated cells, if asked for: a task for some thousands of them, or none
    generating = options.flatMap { steps -> (0..<steps.generating).collect { task -> [id: taskName(task), task: task] } }
    GENERATE(
        generating, VALIDATE.out.samples, byName(SENTENCES.out.summary), model, texts[4],
        options.map { steps -> steps.generate }, code('generate'),
    )

    ATTENTION_MAPS(shards, SENTENCES.out.obs, model, options)

    PERTURBATION(
        shards, SENTENCES.out.obs, SENTENCES.out.summary, model, texts[0], texts[4], texts[3], options,
    )
    PERTURBATION.out.plan.subscribe { plan -> log.info(plan.text.trim()) }

    cells = QC.out.cells.map { _meta, h5ad -> h5ad }
    EVALUATION(
        VALIDATE.out.samples, cells, SENTENCES.out.summary, shards.map { _meta, shard, _genes -> shard },
        EMBED.out.embeddings, ANNOTATE.out.annotations, PERTURBATION.out.predictions, GENERATE.out.cells,
        encoder, options,
    )
    evaluation = EVALUATION.out.tables
    CARD(FINETUNING.out.card, evaluation, code('card'))

    provenance = [name: workflow.manifest.name, version: workflow.manifest.version, revision: commit]
    MERGE(
        VALIDATE.out.samples, VALIDATE.out.options, params.finetune ? TUNED_MODEL.out.description : whole, byName(cells.mix(QC.out.summary)),
        byName(SENTENCES.out.summary), byName(EMBED.out.embeddings), byName(ANNOTATE.out.annotations),
        byName(PERTURBATION.out.predictions), PERTURBATION.out.counts, evaluation, byName(GENERATE.out.cells),
        toJson(provenance), code('merge'),
    )
    MERGE.out.notices.subscribe { json -> readJson(json).warnings.each { line -> log.warn(line) } }
    // MERGE.out.results: [c2s.h5ad, [c2s_perturbed.h5ad] or [], [table of the predictions] or []]
    REPORT(
        MERGE.out.results, byName(QC.out.summary), byName(SENTENCES.out.summary),
        byName(EMBED.out.stats.mix(ANNOTATE.out.stats, PERTURBATION.out.stats, GENERATE.out.stats, MERGE.out.notices)),
        ATTENTION_MAPS.out.pairs, PERTURBATION.out.effects, evaluation, MERGE.out.generated_summary, FINETUNING.out.record,
        file("${projectDir}/assets/multiqc_config.yml"), options.map { steps -> steps.report }, code('report'),
    )

    // [process, versions of its software]; of the checks only when all passed: a file half written when
    // faults stop the run would be one more error
    checks = VALIDATE.out.versions.mix(MODEL.out.versions)
    versions = checks.combine(whole).map { process, lines, _whole -> [process, lines] }.mix(
        TUNED_MODEL.out.versions, QC.out.versions, SENTENCES.out.versions, FINETUNING.out.versions, EMBED.out.versions,
        ANNOTATE.out.versions, GENERATE.out.versions, ATTENTION_MAPS.out.versions, PERTURBATION.out.versions,
        EVALUATION.out.versions, CARD.out.versions, MERGE.out.versions, REPORT.out.versions,
    )
    toYaml(versions).collectFile(name: 'software_versions.yml', storeDir: record, sort: true)

    workflow.onComplete = {
        if (workflow.success) {
            tellResults(params.outdir, madeBy(params))
        }
        else {
            log.info('\nNot finished. With -resume, the next run starts from what was done.')
        }
    }
}
