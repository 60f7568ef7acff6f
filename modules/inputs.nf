// Finds the files a run names, without judging them: what is missing or malformed is reported by
// VALIDATE, all faults together.

// The file or folder, or null: relative paths are tried in `folder` first, then where the run was
// launched. A name is never a glob. A path is itself: of one in an object store the text lacks the store.
def findFile(name, Path folder = null) {
    if (!name) {
        return null
    }
    try {
        if (name instanceof Path) {
            return name.exists() ? name : null
        }
        def local = folder && !"${name}".contains('://') ? folder.resolve("${name}") : null
        def found = local?.exists() ? local : file("${name}", glob: false)
        return found.exists() ? found : null
    }
    catch (Exception _error) {
        return null
    }
}

// The file by a path that Nextflow can stage. Its scripts leave some characters to the shell ($x,
// globs, braces): a path with such gets a twin in the work folder, a hard link where that can be. Of a
// path in an object store only the name stays.
def stageable(Path path) {
    def special = /[\$*?\[\]{}~#!\p{Cntrl}]/
    if (!path || path.scheme in ['http', 'https', 'ftp'] || !("${isLocal(path) ? path.toRealPath() : path.name}" =~ special)) {
        return path
    }
    def state = "${path.toUriString()} ${path.size()} ${path.lastModified()}".md5()
    def twin = workDir.resolve("inputs/${state}/${path.name.replaceAll(special, '_')}")
    if (!twin.exists()) {
        twin.parent.mkdirs()
        copyWhole(path, twin)
    }
    return twin
}

def copyWhole(Path path, Path twin) {
    try {
        java.nio.file.Files.createLink(twin, path.toRealPath())
    }
    catch (Exception _error) {
        def part = isLocal(twin) ? twin.resolveSibling("${twin.name}.part") : twin // a store has no half a file
        path.copyTo(part)
        if (part != twin) {
            part.moveTo(twin)
        }
    }
}

def isLocal(Path path) {
    path.fileSystem == java.nio.file.FileSystems.default
}

// The file as a list of one, or an empty list: what a `path` input takes for an optional file.
def optionalFile(name) {
    def found = findFile(name)
    found && !found.isDirectory() ? [stageable(found)] : []
}

// ['vocabulary:<path in the file of labels>': [file]] of those that are there. What is wrong with the
// file, VALIDATE reports.
def vocabularies(labels) {
    def source = findFile(labels)
    def entries = []
    try {
        def safe = new org.yaml.snakeyaml.constructor.SafeConstructor(new org.yaml.snakeyaml.LoaderOptions())
        entries = source && !source.isDirectory() ? new org.yaml.snakeyaml.Yaml(safe).load(source.text) : []
    }
    catch (Exception _error) {
        entries = []
    }
    (entries instanceof List ? entries : [])
        .findAll { entry -> entry instanceof Map && entry.vocabulary }
        .collect { entry -> "${entry.vocabulary}".toString() }
        .unique()
        .collectEntries { name ->
            def found = findFile(name, source.parent)
            ["vocabulary:${name}".toString(), found && !found.isDirectory() ? [stageable(found)] : []]
        }
}

// What a run's parameters name as models: files that are here, and what is to be fetched.
def findModels(Map given) {
    def from_scratch = given.finetune && given.finetune_method == 'scratch'
    def base = from_scratch ? [] : findModel(given.model, given.base_model)
    [
        base: base,
        missing: from_scratch ? null : toFetch(base, given.base_model),
        base_id: baseId(given.model, base),
        encoder: findModel(given.text_encoder),
        checkpoints: given.finetune ? folderForTasks(given.checkpoint_dir, 'finetune_checkpoints') : '',
    ]
}

// Whether a file may be a samplesheet, by its name: SHEET reads it.
def maybeSheet(Path input) {
    input && !input.isDirectory() && input.name.toLowerCase().tokenize('.').last() in ['csv', 'tsv', 'yaml', 'yml', 'json']
}

// What --input names, as [samplesheet or [], data files, for each row the index of its file or
// null]. A data file makes one row. (paths: those that a samplesheet names, or null if it is data;
// cells: [query of the Census: file of its cells])
def findInput(input, List paths, Map cells = [:]) {
    def source = findFile(input)
    def found = (paths == null ? [input] : paths).collect { path -> cells["${path}".toString()] ?: findFile(path, paths == null ? null : source.parent) }
    def files = found.findAll { path -> path != null }.unique()
    [paths == null ? [] : stageable(source), files.collect { path -> stageable(path) }, found.collect { path -> path ? files.indexOf(path) : null }]
}

// The queries of the Census that --input names, or the rows of a samplesheet.
def censusQueries(input, List paths) {
    (paths == null ? [input] : paths).collect { path -> "${path}".toString() }.findAll { path -> path.startsWith('census://') }.unique()
}

// The folder that such a query names for a Census of one's own, or an empty list.
def censusFolder(String query) {
    def uri = query.tokenize('?&').find { part -> part.startsWith('uri=') }?.minus('uri=')
    def folder = findFile(uri)
    folder && isLocal(folder) ? [stageable(folder)] : []
}

// The files of a model folder that are staged: weights, configuration, tokenizer.
def modelFiles(Path folder) {
    folder
        .listFiles()
        .findAll { path -> path.name ==~ /[^.].*\.(safetensors|json|jinja|model)/ && path.isFile() }
        .sort { path -> path.name }
        .collect { path -> stageable(path) }
}

// The files of a model that FETCH left in --model_cache. An upload that was cut leaves some of them, which
// Nextflow takes for all: they are deleted, so that the next run fetches the model again.
def fetchedFiles(Path folder) {
    if (!isWhole(folder)) {
        deleteFiles(folder)
        error("${folder.toUriString()}: the model was not copied there whole, and is deleted; run again with -resume to fetch it again")
    }
    modelFiles(folder)
}

// Nextflow's deleteDir() leaves some behind in S3.
def deleteFiles(Path path) {
    if (path.isDirectory()) {
        path.listFiles().each { entry -> deleteFiles(entry) }
    }
    path.delete()
}

// Whether the files are there that c2s_source.json lists with their sizes (c2sflow.model.files has it).
def isWhole(Path folder) {
    def source = folder.resolve('c2s_source.json')
    def sizes = source.exists() ? new groovy.json.JsonSlurperClassic().parseText(source.text).files ?: [:] : null
    sizes != null && sizes.every { name, size -> folder.resolve(name).exists() && folder.resolve(name).size() == size }
}

// The files of the model folder that --model names, or an empty list if it names none (but a
// Hugging Face id). An adapter's files come with those of its base, if that is here: what is still
// to be fetched, toFetch() returns. A folder without a model is passed on as it is, for VALIDATE to
// report.
def findModel(model, base_model = null) {
    def folder = findFile(model == 'demo' ? "${projectDir}/assets/demo_model" : model)
    if (!folder || !folder.isDirectory()) {
        return []
    }
    def files = modelFiles(folder) ?: [stageable(folder)]
    def named = withoutBase(files) ? baseOf(files, base_model).model : null
    def base = base_model || !named ? findModel(named) : findModel(nearAdapter(named, folder))
    withoutBase(files) ? besideBase(files, base.any { path -> path.name == 'adapter_config.json' } ? [] : base) : files
}

// Whether these are the files of an adapter, and not of its base.
def withoutBase(List<Path> files) {
    def weights = files.findAll { path -> path.name.endsWith('.safetensors') && path.name != 'adapter_model.safetensors' }
    !weights && files.any { path -> path.name == 'adapter_config.json' }
}

// The base of an adapter: as given, or as the adapter's configuration names it.
def baseOf(List<Path> files, base_model) {
    def config = [:]
    try {
        config = new groovy.json.JsonSlurperClassic().parseText(files.find { path -> path.name == 'adapter_config.json' }.text)
    }
    catch (Exception _error) {
        // VALIDATE reports that it cannot be read
    }
    [model: base_model ?: config.base_model_name_or_path, model_revision: base_model ? 'main' : config.revision ?: 'main']
}

// A base that an adapter names by a path: it counts from a folder that the adapter lies in, however
// deep, or from where the run was launched. (As c2sflow.model.hub has it.)
def nearAdapter(name, Path adapter) {
    def near = parentsOf(adapter)
        .collect { folder -> folder.resolve("${name}") }
        .find { base -> base.isDirectory() && !base.resolve('adapter_config.json').exists() }
    near ? near.toUriString() : name
}

def parentsOf(Path folder) {
    folder.parent ? [folder.parent] + parentsOf(folder.parent) : []
}

// What a task needs of an adapter, and of its base.
def besideBase(adapter, base) {
    def files = [adapter].flatten()
    def own = files.findAll { path -> path.name.startsWith('adapter_') || path.name in ['c2s_model.json', 'c2s_training.json'] }
    def names = own.collect { path -> path.name }
    'adapter_config.json' in names
        ? own + base.findAll { path -> !(path.name in names) }
        : files.findAll { path -> path.name ==~ /.*\.(safetensors|json|jinja|model)/ }
}

// The name of the base in the results and for those who use an adapter of it, if it is a folder of
// the user's: its path from where the run was launched (as c2sflow.model.hub.portable_name makes
// it). Fetched files hold their own name.
def baseId(model, List<Path> files) {
    def known = !files || files.any { path -> path.name == 'c2s_source.json' }
    if (known || model == 'demo') {
        return known ? null : model
    }
    def folder = findFile(model)
    if (!isLocal(folder)) {
        return folder.toUriString()
    }
    def path = launchDir.toRealPath().relativize(folder.toRealPath()).toString()
    return path.startsWith('..') ? path : "./${path}".toString()
}

// What FETCH has to fetch: [:] for the model itself, the id and revision of an adapter's base, or null
// if everything is here.
def toFetch(List<Path> files, base_model) {
    files ? (withoutBase(files) ? baseOf(files, base_model) : null) : [:]
}

// A folder that outlives tasks and that they all write to: as named, or in the work directory. ''
// where they see no file system in common.
def folderForTasks(name, String own) {
    def folder = name ? file("${name}", glob: false) : workDir.resolve(own)
    if (workDir.fileSystem != java.nio.file.FileSystems.default || folder.fileSystem != workDir.fileSystem) {
        return ''
    }
    folder.mkdirs()
    return "${folder.toRealPath()}"
}
