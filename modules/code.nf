// What processes share: safe command lines, and the digest of the code a step runs.

// A value as one word of bash. Line ends are spelled out: Nextflow re-indents scripts.
def quote(value) {
    "'" + "${value}".replace("'", "'\\''").replace('\n', "'\$'\\n''") + "'"
}

// [max_genes: 50, skip_qc: false, seed: null] → --max-genes='50' --no-skip-qc
def cli(Map options) {
    options
        .findAll { _name, value -> value != null }
        .sort { entry -> entry.key }
        .collect { name, value ->
            def flag = name.replace('_', '-')
            value instanceof Boolean
                ? (value ? "--${flag}" : "--no-${flag}")
                : "--${flag}=${quote(value)}"
        }
        .join(' ')
}

// bin/ of this pipeline, whatever script includes this module.
def binFolder() {
    file("${moduleDir}/../bin").toRealPath()
}

// The Python files of ours that a file imports: `from c2sflow.model.loading import load_model`, or
// `from c2sflow.model import loading`. The __init__.py of a package is not code of a step, except for
// the version.
def importsOf(Path bin, Path source) {
    if (source.name == '__init__.py') {
        return [] // it is here for the version; what it imports, it imports on demand
    }
    def statement = /(?m)^ *(?:from|import) +(c2sflow[.\w]*)(?: +import +(?:\(([^)]*)\)|(.+)))?/
    def names = source.text.findAll(statement) { _all, module, many, one ->
        def members = (many ?: one ?: '').replaceAll(/#.*/, '').tokenize(',').findResults { name -> name.tokenize() ? name.tokenize().first() : null }
        [module] + members.collect { name -> "${module}.${name}".toString() }
    }.flatten()
    def version = names.contains('c2sflow.__version__') ? [bin.resolve('c2sflow/__init__.py')] : []
    version + names.collect { name -> bin.resolve("${name.replace('.', '/')}.py") }.findAll { path -> path.exists() }
}

// These files and all they import, directly or not.
def closureOf(List<Path> sources) {
    withImports(binFolder(), sources.toSet(), sources)
}

// The files found so far and all that the latest of them import.
def withImports(Path bin, Set<Path> found, Collection<Path> latest) {
    def more = latest.collectMany { source -> importsOf(bin, source) }.toSet() - found
    more ? withImports(bin, found + more, more) : found.sort()
}

// Digest of the code of a step: its module and every one of ours that it imports. Nextflow's
// own hash of a task sees the command's name only, so a process takes this as an input, and
// -resume runs again what an edit touches, and nothing else.
def code(String step) {
    def bin = binFolder()
    closureOf([bin.resolve("c2sflow/steps/${step}.py")])
        .collect { source -> "${bin.relativize(source)}\n${source.text}" }
        .join('\n')
        .md5()
}

// Environment of a step that runs a model. The memory of a batch is kept for the next one instead of
// being given back to the system in between: a fifth of the time on a CPU (measured).
def engine(cpus) {
    "export OMP_NUM_THREADS=${cpus} NUMBA_NUM_THREADS=${cpus} MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296"
}

// Options of a local container that has to write to this folder, too; '' where there is none.
def mounted(folder) {
    def option = workflow.containerEngine in ['docker', 'podman'] ? '--volume' : '--bind'
    workflow.containerEngine && folder ? "${option} ${quote("${folder}:${folder}")}" : ''
}
