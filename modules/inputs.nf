// Finds the files a run names, without judging them: what is missing or malformed is reported by
// VALIDATE, all faults together.

// The file or folder, or null: relative paths are tried in `folder` first, then where the run was
// launched. A name is never a glob.
def findFile(name, Path folder = null) {
    if (!name) {
        return null
    }
    try {
        def local = folder && !"${name}".contains('://') ? folder.resolve("${name}") : null
        def found = local?.exists() ? local : file("${name}", glob: false)
        return found.exists() ? found : null
    }
    catch (Exception _error) {
        return null
    }
}

// The file by a path that Nextflow can stage. Its scripts leave some characters to the shell ($x,
// globs, braces): a path with such gets a twin in the work folder, a hard link where that can be.
def stageable(Path path) {
    def special = /[\$*?\[\]{}~#!\p{Cntrl}]/
    if (!path || path.fileSystem != workDir.fileSystem || !(path.toRealPath().toString() =~ special)) {
        return path
    }
    def state = "${path} ${path.size()} ${path.lastModified()}".md5()
    def twin = workDir.resolve("inputs/${state}/${path.name.replaceAll(special, '_')}")
    if (!twin.exists()) {
        twin.parent.mkdirs()
        try {
            java.nio.file.Files.createLink(twin, path.toRealPath())
        }
        catch (Exception _error) {
            path.copyTo("${twin}.part")
            file("${twin}.part").moveTo(twin)
        }
    }
    return twin
}

// The file as a list of one, or an empty list: what a `path` input takes for an optional file.
def optionalFile(name) {
    def found = findFile(name)
    found && !found.isDirectory() ? [stageable(found)] : []
}

// The fields of a line of CSV or TSV: separators between quotes separate nothing.
def fields(String line, String separator) {
    line.replace('\uFEFF', '')
        .split(separator + /(?=(?:[^"]*"[^"]*")*[^"]*$)/, -1)
        .collect { field -> field.trim().replaceAll(/^"(.*)"$/, '$1').replace('""', '"') }
}

// The rows of a samplesheet, each a map; null if the file is no samplesheet but data.
def sheetRows(Path input) {
    def suffix = input.isDirectory() ? '' : input.name.toLowerCase().tokenize('.').last()
    if (suffix in ['yaml', 'yml', 'json']) {
        def rows = new org.yaml.snakeyaml.Yaml().load(input.text)
        return rows instanceof List ? rows.collect { row -> (row instanceof Map) ? row : [:] } : []
    }
    if (suffix in ['csv', 'tsv']) {
        def separator = suffix == 'csv' ? ',' : '\t'
        def header = fields(input.withReader { reader -> reader.readLine() } ?: '', separator)
        if (!header.containsAll(['sample', 'path'])) {
            return null
        }
        return input
            .readLines('UTF-8')
            .tail()
            .collect { line -> fields(line, separator) }
            .findAll { row -> row.any() }
            .collect { row -> [header, row].transpose().collectEntries() }
    }
    return null
}

// What --input names, as [samplesheet or [], data files, for each row the index of its file or
// null]. A data file makes one row.
def findInput(input) {
    def source = findFile(input)
    def rows = null
    try {
        rows = source ? sheetRows(source) : null
    }
    catch (Exception _error) {
        rows = []
    }
    def found = rows == null ? [source] : rows.collect { row -> findFile(row.path, source.parent) }
    def files = found.findAll { path -> path != null }.unique()
    [rows == null ? [] : stageable(source), files.collect { path -> stageable(path) }, found.collect { path -> path ? files.indexOf(path) : null }]
}

// The files of a model folder that are staged: weights, configuration, tokenizer.
def modelFiles(Path folder) {
    folder
        .listFiles()
        .findAll { path -> path.name ==~ /[^.].*\.(safetensors|json|jinja|model)/ && path.isFile() }
        .sort { path -> path.name }
        .collect { path -> stageable(path) }
}

// The files of the model folder that --model names, or an empty list if it names none (but a
// Hugging Face id). A folder that holds no model is handed on as it is, for VALIDATE to report.
def findModel(model) {
    def folder = findFile(model == 'demo' ? "${projectDir}/assets/demo_model" : model)
    folder && folder.isDirectory() ? (modelFiles(folder) ?: [stageable(folder)]) : []
}
