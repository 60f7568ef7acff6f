// What concerns the run as a whole: its parameters, its record, its messages.

include { summary     } from './parameters'
include { placeFaults } from './places'

// JSON with the keys of the map in order: the same content is the same text.
def toJson(Map content) {
    groovy.json.JsonOutput.toJson(content.sort { entry -> entry.key })
}

def readJson(Path file) {
    new groovy.json.JsonSlurperClassic().parseText(file.text)
}

// The faults that VALIDATE or MODEL found, or null: then what it reports is shown. Deleting the
// faults keeps the failure out of the cache: what was wrong may be outside the task's inputs.
def faultsIn(Path report) {
    def text = report.text.trim()
    if (report.name == 'faults.txt') {
        report.delete()
        return text - ~/^error: /
    }
    log.info(text)
    return null
}

// The name of a task of GENERATE: as in c2sflow.generation.plan.
def taskName(task) {
    "generated.${"${task}".padLeft(5, '0')}".toString()
}

// All files of a channel as one list, in an order that is the same in every run.
def byName(files) {
    files.toSortedList { one, other -> one.name <=> other.name }
}

// What a run logs first and records. Nothing is submitted where it could not run.
// Returned: [name, version, revision: of the pipeline].
def start(Map given, Map models) {
    def commit = workflow.commitId ?: revision()
    log.info(summary(given, commit))
    def fetches = models.missing != null || (given.text_encoder && !models.encoder)
    def misplaced = placeFaults(workflow.profile, given, workDir, fetches ? true : false)
    if (misplaced) {
        error(misplaced)
    }
    channel
        .of(groovy.json.JsonOutput.prettyPrint(toJson(given)))
        .collectFile(name: 'params.json', storeDir: "${given.outdir}/pipeline_info")
    [name: workflow.manifest.name, version: workflow.manifest.version, revision: commit]
}

// software_versions.yml, of [process, lines of YAML] of every task.
def writeVersions(versions, outdir) {
    versions
        .unique()
        .map { process, lines -> "${process.tokenize(':').last()}:\n" + lines.readLines().collect { line -> "  ${line.trim()}\n" }.join() }
        .collectFile(name: 'software_versions.yml', storeDir: "${outdir}/pipeline_info", sort: true)
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

// What a run logs last: where its results are, and what an earlier run into the same folder left
// there that this one does not make.
def finish(Map given, boolean success) {
    if (!success) {
        log.info('\nNot finished. Resume it with -resume: what is done is not run again.')
        return
    }
    def made = resultsOf(given)
    def found = made.keySet().findAll { name -> file("${given.outdir}/${name}").exists() }
    def old = found.findAll { name -> !made[name] }
    if (old) {
        log.warn("Of an earlier run, and not of this one:\n${pathLines(given.outdir, old)}")
    }
    log.info("\nDone in ${workflow.duration}:\n${pathLines(given.outdir, found - old)}")
}

// [name of a result in the outdir: whether a run with these parameters makes it]
def resultsOf(Map given) {
    def predicts = given.perturbations || given.perturbation_column
    def made = [
        'c2s.h5ad': true, 'c2s_perturbed.h5ad': predicts, 'c2s_generated.h5ad': given.generate, 'report.html': true,
        finetuned: given.finetune, perturbation: predicts, generation: given.generate,
        attention: "${given.attention_maps}" != '0', evaluation: "${given.evaluate}" == 'true',
    ]
    made.collectEntries { name, makes -> [name, makes ? true : false] }
}

def pathLines(outdir, names) {
    names.collect { name -> "  ${file("${outdir}/${name}")}" }.join('\n')
}
