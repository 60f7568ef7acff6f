// What concerns the run as a whole: its parameters, its record, its messages.

// JSON with the keys of the map in order: the same content is the same text.
def toJson(Map content) {
    groovy.json.JsonOutput.toJson(content.sort { entry -> entry.key })
}

def readJson(Path file) {
    new groovy.json.JsonSlurperClassic().parseText(file.text)
}

// The faults that VALIDATE or MODEL found, or null: then what it reports is shown. Deleting the
// faults keeps the failure out of the cache: what was wrong may lie outside of the task's inputs.
def faultsIn(Path report) {
    def text = report.text.trim()
    if (report.name == 'faults.txt') {
        report.delete()
        return text - ~/^error: /
    }
    log.info(text)
    return null
}

// From the checked parameters by group of the schema, the options of each step: a step's task
// depends on its own options only.
def stepOptions(Map groups) {
    def drawing = ['perturbations', 'perturbation_column', 'control', 'max_cells_per_perturbation', 'no_op']
    def sizing = ['perturbation_prompt', 'max_new_tokens', 'num_samples']
    def screening = ['gene_sets', 'context', 'replicate_column']
    def predicting = groups.perturbation.keySet() - drawing - screening - ['max_predictions']
    def origin = ['model', 'model_revision']
    def per_sample = ['organism', 'input_state', 'gene_symbols', 'input_kind', 'matrix', 'features', 'genome']
    def scoring = groups.evaluation.findAll { name, _value -> !(name in ['evaluate', 'text_encoder']) }
    scoring.measured_column = scoring.measured_column ?: groups.perturbation.perturbation_column
    def planning = groups.perturbation.subMap(drawing + sizing)
    if (groups.finetuning.finetune) {
        // A model is scored on what it was not trained on.
        scoring.training_cells = either(scoring.training_cells, 'c2s_split != "test"')
    }
    planning.training_cells = scoring.training_cells
    def seed = groups.sentences.subMap(['seed'])
    def embedding = groups.embedding.findAll { name, _value -> !(name in ['attention_maps', 'dataset_context']) }
    def saying = ['valid_genes_only', 'no_repeats', 'gene_vocabulary', 'max_new_tokens', 'temperature', 'top_p']
    def engine = groups.model.findAll { name, _value -> !(name in origin + ['model_cache']) }
    [
        model: groups.model.subMap(origin),
        checked: [model: groups.model.model, prompts: toJson(groups.asked ?: [:])],
        tuned: modelName(groups),
        qc: groups.qc.findAll { name, _value -> !(name in per_sample) } + (groups.split ? [split: toJson(groups.split)] : [:]),
        sentences: groups.sentences,
        finetune: training(groups) + [perturbation_column: scoring.measured_column] + groups.model.subMap(['device', 'dtype', 'max_batch_tokens']) + seed,
        n_processes: groups.model.device == 'cpu' ? 1 : groups.resources.gpus_per_task,
        embed: embedding + engine,
        choose: groups.embedding.subMap(['attention_maps']) + groups.report.subMap(['label_column']) + seed,
        annotating: groups.annotation.annotate,
        annotate: groups.annotation.findAll { name, _value -> name != 'annotate' } + engine,
        generating: groups.generation.tasks ?: 0,
        generate: groups.generation.findAll { name, _value -> name != 'tasks' } + groups.annotation.subMap(['cell_types']) +
            groups.sentences.subMap(['shard_size']) + groups.perturbation.subMap(saying) + embedding + engine + seed,
        attention: embedding.findAll { name, _value -> name != 'pooling' } + engine,
        plan: planning + [measured_column: groups.evaluation.evaluate ? scoring.measured_column : null] + groups.report.subMap(['label_column']) + seed,
        perturb: groups.perturbation.subMap(predicting) + embedding + engine + seed,
        effects: groups.perturbation.subMap(screening),
        evaluating: groups.evaluation.evaluate,
        evaluate: scoring + groups.report.subMap(['label_column']) + groups.perturbation.subMap(['control']) + seed,
        text_encoder: [model: groups.evaluation.evaluate ? groups.evaluation.text_encoder : null, model_revision: 'main', encoder: true],
        text_scores: scoring.subMap(['measured_column', 'training_cells']) + groups.report.subMap(['label_column']) + groups.model.subMap(['device']) + seed,
        report: groups.report.findAll { name, _value -> name != 'store_umap' } + scoring.subMap(['training_cells']),
    ]
}

// The name of a task of GENERATE: as in c2sflow.generation.plan.
def taskName(task) {
    "generated.${"${task}".padLeft(5, '0')}".toString()
}

// Two queries on obs as one; the first may be missing.
def either(query, other) {
    query ? "(${query}) or ${other}" : other
}

// What FINETUNE is told of the task, under the names of its script.
def training(Map groups) {
    def renamed = [finetune: 'tasks', finetune_method: 'method', finetune_batch_tokens: 'batch_tokens']
    def of_others = ['split_by', 'split_column', 'hold_out_combinations', 'held_out', 'validation', 'checkpoint_dir']
    groups.finetuning
        .findAll { name, _value -> !(name in of_others) }
        .collectEntries { name, value -> [renamed[name] ?: name, value] } +
        groups.report.subMap(['label_column']) +
        groups.perturbation.subMap(['control', 'perturbation_prompt', 'replicate_column']) +
        groups.annotation.subMap(['annotation_prompt']) +
        groups.generation.subMap(['generation_prompt']) +
        groups.embedding.subMap(['embedding_prompt'])
}

// What the results call their model.
def modelName(Map groups) {
    def method = groups.finetuning.finetune_method
    groups.finetuning.finetune ? (method == 'scratch' ? 'scratch' : "${groups.model.model} + ${method}") : groups.model.model
}

// All files of a channel as one list, in an order that is the same in every run.
def byName(files) {
    files.toSortedList { one, other -> one.name <=> other.name }
}

// [process, lines of YAML] of every task to the text of software_versions.yml.
def toYaml(versions) {
    versions
        .unique()
        .map { process, lines -> "${process.tokenize(':').last()}:\n" + lines.readLines().collect { line -> "  ${line.trim()}\n" }.join() }
}

// The commit of the pipeline, "-dirty" if its files were edited since; null where git knows none.
def revision() {
    def git = "git --git-dir=${projectDir}/.git --work-tree=${projectDir}"
    def command = git.tokenize() + ['describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
    try {
        def process = command.execute()
        def text = process.text.trim()
        return process.waitFor() == 0 ? text : null
    }
    catch (IOException _error) {
        return null
    }
}

// [name of a result in the outdir: whether a run with these parameters makes it]
def madeBy(Map given) {
    def predicts = given.perturbations || given.perturbation_column
    def made = [
        'c2s.h5ad': true, 'c2s_perturbed.h5ad': predicts, 'c2s_generated.h5ad': given.generate, 'report.html': true,
        finetuned: given.finetune, perturbation: predicts, generation: given.generate,
        attention: "${given.attention_maps}" != '0', evaluation: "${given.evaluate}" == 'true',
    ]
    made.collectEntries { name, makes -> [name, makes ? true : false] }
}

// A run's last words: where its results are; and what an earlier run into the same folder left there
// that this one does not make. (name: whether this run makes it)
def tellResults(outdir, Map<String, Boolean> made) {
    def found = made.keySet().findAll { name -> file("${outdir}/${name}").exists() }
    def old = found.findAll { name -> !made[name] }
    if (old) {
        log.warn("Of an earlier run, and not of this one:\n${pathLines(outdir, old)}")
    }
    log.info("\nDone in ${workflow.duration}:\n${pathLines(outdir, found - old)}")
}

def pathLines(outdir, names) {
    names.collect { name -> "  ${file("${outdir}/${name}")}" }.join('\n')
}
