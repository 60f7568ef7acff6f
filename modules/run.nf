// What concerns the run as a whole: its parameters, its record, its messages.

include { isLocal; optionalFile; vocabularies } from './inputs'
include { parameterGroups; summary } from './parameters'
include { placeFaults; reasonOf } from './places'
include { readJson; toJson } from './channels'

// [parameter: [the file that it names], or []] of those that may name one: `names_file` in the schema;
// and those that the file of --labels names.
def namedFiles(Map given) {
    parameterGroups()
        .collectEntries { group -> group.properties }
        .findAll { _name, entry -> entry.names_file }
        .collectEntries { name, _entry -> [name, optionalFile(given[name])] } + vocabularies(given.labels)
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
    makeCompileCache(given)
    writeParameters(given)
    [name: workflow.manifest.name, version: workflow.manifest.version, revision: commit]
}

// Whether an object store can be written to, only this shows.
def writeParameters(Map given) {
    def record = file("${given.outdir}/pipeline_info/params.json", glob: false)
    try {
        record.parent.mkdirs()
        record.text = groovy.json.JsonOutput.prettyPrint(toJson(given))
    }
    catch (Exception failure) {
        error("--outdir ${given.outdir}: nothing can be written there (${reasonOf(failure)}); name another folder")
    }
}

// Before any task, for containers mount it: as conf/compile_cache.config names it. Tasks get the name
// through a shell.
def makeCompileCache(Map given) {
    def folder = file(given.compile_cache ?: "${given.model_cache}".replaceAll('[^/]+/*$', 'compile_cache'), glob: false)
    if (folder.fileSystem != java.nio.file.FileSystems.default) {
        return
    }
    if ("${folder}" =~ /["$`\\]/) {
        error("--compile_cache ${folder}: none of the characters \" \$ ` \\ can be in its name; name another folder")
    }
    if (!folder.isDirectory() && !folder.mkdirs()) {
        error("--compile_cache ${folder}: no folder can be made there; name another")
    }
}

// software_versions.yml, of [process, lines of YAML] of every task. A task that cannot name them is no
// failure (`|| true`): Nextflow would not retry it, and would kill all others that are running.
def writeVersions(versions, outdir) {
    versions
        .filter { _process, lines -> lines.trim() }
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

// What a run logs last: all warnings again, what is good and poor about the results, where they are,
// and what an earlier run into the same folder left there that this one does not make. Of a failed
// run, what has to be done; where nothing was run, nothing can be resumed.
def finish(Map given, boolean success, String failure) {
    if (!success) {
        // A warning: of the errors after that which ended the run Nextflow prints the first alone
        fullDisks(given.outdir, failure).each { folder -> log.warn("The disk of ${folder} is full.") }
        if (!"${failure}".contains('nothing was run')) {
            log.info('\nNot finished. Resume it with -resume: what is done is not run again.')
        }
        return
    }
    completeReport(given.outdir)
    logVerdict(given.outdir)
    def made = resultsOf(given)
    def found = made.keySet().findAll { name -> file("${given.outdir}/${name}").exists() }
    def old = found.findAll { name -> !made[name] }
    if (old) {
        log.warn("Of an earlier run, and not of this one:\n${pathLines(given.outdir, old)}")
    }
    log.info("\nDone in ${workflow.duration}:\n${pathLines(given.outdir, found - old)}")
}

// Folders in which nothing can be written any more. A task there cannot even log why it failed.
def fullDisks(outdir, failure) {
    def places = [workDir, file(outdir, glob: false), workflow.launchDir]
    def full = places.findAll { folder ->
        isLocal(folder) && folder.exists() && java.nio.file.Files.getFileStore(folder).usableSpace < 65536
    }
    (full + foldersWithoutRoom(places, failure)).unique()
}

// Those that a failure names: "of a file -> to a file in one of them: the reason". What had no room to be
// published is deleted, and leaves some; a quota is used up where the disk has room.
def foldersWithoutRoom(places, failure) {
    def lines = "${failure}".readLines().findAll { line -> line =~ /No space left on device|Disk quota exceeded/ }
    def targets = lines.collect { line -> line.split(' -> ').last() }
    def named = targets.collect { target ->
        places.findAll { folder -> target.contains("${folder}/") }.max { folder -> folder.nameCount }
    }
    named.findAll { folder -> folder }
}

// What REPORT found, taken from where it is published: so a run logs it whether REPORT ran or -resume
// took it from an earlier run.
def logVerdict(outdir) {
    def record = file("${outdir}/pipeline_info/verdict.json", glob: false)
    if (!record.exists()) {
        return
    }
    def found = readJson(record)
    if (found.warnings) {
        log.warn("All warnings (once more):\n${found.warnings.collect { line -> "  ${line}" }.join('\n')}")
    }
    def judged = ['poor', 'good'].collectMany { state -> found[state].collect { line -> "  ${state}  ${line}" } }
    log.info("\nVerdict (report.html has all figures):\n${judged ? judged.join('\n') : '  no figure has a bound to judge it by'}")
}

// The report's rows about the run itself: a task that knew the run's name would never be resumed.
def completeReport(outdir) {
    def page = file("${outdir}/report.html", glob: false)
    if (!page.exists()) {
        return
    }
    def docs = workflow.repository ? "${workflow.repository}/blob/${workflow.commitId}/docs" : "file://${projectDir}/docs"
    def rows = [
        'Command line': escaped(workflow.commandLine),
        'Run name': escaped(workflow.runName),
        Started: workflow.start.format(java.time.format.DateTimeFormatter.ofPattern('yyyy-MM-dd HH:mm:ss xxx')) + ", finished after ${workflow.duration}",
        Documentation: ['output', 'usage'].collect { name -> "<a href=\"${escaped("${docs}/${name}.md")}\">docs/${name}.md</a>" }.join(', '),
    ].collect { name, value -> "<tr><th class=\"text-nowrap\">${name}</th><td class=\"text-break\">${value}</td></tr>" }
    def partial = page.resolveSibling('.report.html.partial')
    partial.text = page.text.replace('<tr hidden class="c2s-of-the-run"></tr>', rows.join('\n'))
    java.nio.file.Files.move(partial, page, java.nio.file.StandardCopyOption.REPLACE_EXISTING)
}

def escaped(value) {
    "${value}".replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;').replace('"', '&#34;')
}

// [name of a result in the outdir: whether a run with these parameters makes it]
def resultsOf(Map given) {
    def predicts = given.perturbations || given.perturbation_column
    def made = [
        'c2s.h5ad': "${given.output_format}" == 'h5ad', 'c2s.zarr': "${given.output_format}" == 'zarr', 'c2s_perturbed.h5ad': predicts, 'c2s_generated.h5ad': given.generate, 'report.html': true,
        finetuned: given.finetune, perturbation: predicts, generation: given.generate,
        attention: "${given.attention_maps}" != '0', evaluation: "${given.evaluate}" == 'true',
    ]
    made.collectEntries { name, makes -> [name, makes ? true : false] }
}

def pathLines(outdir, names) {
    names.collect { name -> "  ${shown(file("${outdir}/${name}"))}" }.join('\n')
}

// A path as a user types it, with its store.
def shown(Path path) {
    isLocal(path) ? "${path}" : path.toUriString()
}
