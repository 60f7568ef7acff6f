#!/usr/bin/env nextflow
// c2sflow: Cell2Sentence-Scale on any AnnData file, embeddings and perturbation prediction.

include { EMBED; EMBED as EMBED_GROUPS } from './modules/embed'
include { ANNOTATION     } from './subworkflows/annotation'
include { ATTENTION_MAPS } from './subworkflows/attention_maps'
include { EVALUATION     } from './subworkflows/evaluation'
include { GENERATION     } from './subworkflows/generation'
include { GROUPING       } from './subworkflows/groups'
include { INPUT          } from './subworkflows/input'
include { FINETUNING; MODELS } from './subworkflows/models'
include { PERTURBATION   } from './subworkflows/perturbation'
include { PREPARE        } from './subworkflows/prepare'
include { RESULTS        } from './subworkflows/results'
include { inPacks        } from './modules/channels'
include { code           } from './modules/code'
include { findModels     } from './modules/inputs'
include { helpText       } from './modules/parameters'
include { countTasks; logProgress } from './modules/progress'
include { finish; namedFiles; start; writeVersions } from './modules/run'

workflow {
    if ("${params.help} ${params.help_full}" != 'false false') {
        println(helpText(params.help, "${params.help_full}" == 'true'))
        return
    }
    // [base, encoder: [file], missing: what is to be fetched, base_id, checkpoints]; [parameter: [file that it names]]
    models = findModels(params)
    named = namedFiles(params)
    pipeline = start(params, models)

    // options: [step: [option: checked value]]; everything below waits for it
    INPUT(params, named, models.base, models.encoder)
    options = INPUT.out.options

    // base: [file of the model] and description: model.json, both when the model is known to be whole
    MODELS(models.base, models.missing, models.encoder, options)

    // shards: [[id, sample], <shard>.parquet, <sample>.sentences.json]
    PREPARE(INPUT.out.data, named.gene_symbols, options)
    shards = PREPARE.out.shards

    // model: [file of the model], fine-tuned if asked for
    FINETUNING(shards, PREPARE.out.sentences, MODELS.out.base, models.base_id, MODELS.out.description, models.checkpoints, options)
    model = FINETUNING.out.model

    // embeddings: <shard>.embedding.h5ad; annotations, predictions: a Parquet file for each shard
    // packs: [[id], [<shard>.parquet]], what a task that loads the model gets: shards of small samples together
    packs = inPacks(PREPARE.out.sample_shards, options)
    EMBED(packs, model, options.map { steps -> steps.embed }, code('embed'))
    // Groups of cells that share a prompt, as shards like those of cells
    GROUPING(PREPARE.out.cells, PREPARE.out.obs, PREPARE.out.sample_shards, options)
    EMBED_GROUPS(GROUPING.out.drawn, model, options.map { steps -> steps.embed_groups }, code('embed'))
    ANNOTATION(packs, GROUPING.out.drawn, model, options)
    groups = GROUPING.out.files.mix(EMBED_GROUPS.out.embeddings, EMBED_GROUPS.out.stats, ANNOTATION.out.group_files)
    GENERATION(INPUT.out.sheet, PREPARE.out.sentences, model, named.gene_vocabulary, options)
    ATTENTION_MAPS(shards, PREPARE.out.obs, model, options)
    PERTURBATION(shards, PREPARE.out.obs, PREPARE.out.sentences, model, named, options)
    // [step: number of its tasks, and of those done]
    counts = [:]
    countTasks(counts, 'embed', packs, EMBED.out.embeddings)
    countTasks(counts, 'perturb', PERTURBATION.out.packs, PERTURBATION.out.predictions)
    logProgress(workDir, counts)
    made = [
        input: INPUT.out, cells: PREPARE.out, finetuning: FINETUNING.out, embedding: EMBED.out, annotation: ANNOTATION.out,
        groups: groups, generation: GENERATION.out, attention: ATTENTION_MAPS.out, perturbation: PERTURBATION.out,
    ]

    // tables: [table] of every score that there is a ground truth for
    EVALUATION(made, MODELS.out.text_encoder, options)
    RESULTS(made, EVALUATION.out.tables, pipeline, file("${projectDir}/assets/multiqc_config.yml"))

    // Versions of the checks only when all passed: a half-written file of theirs would be one more error.
    checks = INPUT.out.versions.mix(MODELS.out.versions).combine(MODELS.out.description)
    writeVersions(checks.map { process, lines, _passed -> [process, lines] }.mix(
        PREPARE.out.versions, FINETUNING.out.versions, EMBED.out.versions, GROUPING.out.versions, EMBED_GROUPS.out.versions, ANNOTATION.out.versions, GENERATION.out.versions,
        ATTENTION_MAPS.out.versions, PERTURBATION.out.versions, EVALUATION.out.versions, RESULTS.out.versions,
    ), params.outdir)

    workflow.onComplete = { finish(params, workflow.success, workflow.errorMessage) }
}
