// Where a run takes place: what its profiles require, checked before anything is submitted.

// Parameters that a profile needs; of a list within, one.
def needs() {
    def images = ['container_dir', 'container_registry']
    [
        apptainer: [images],
        singularity: [images],
        charliecloud: [images],
        k8s: ['k8s_claim', 'container_registry'],
        awsbatch: ['aws_region', 'queue', 'container_registry'],
        googlebatch: ['google_project', 'google_location', 'gpu_type', 'container_registry'],
        azurebatch: ['azure_location', 'azure_batch_account', 'azure_storage_account', 'gpu_machine', 'container_registry'],
    ]
}

// Clouds without a file system that all tasks see: what their paths begin with.
def stores() {
    [awsbatch: 's3://', googlebatch: 'gs://', azurebatch: 'az://']
}

def missing(List profiles, Map params, Map entries) {
    needs().subMap(profiles).collectMany { profile, names ->
        names
            .collect { name -> [name].flatten() }
            .findAll { choice -> !choice.any { name -> params[name] } }
            .findAll { choice -> params.device != 'cpu' || !choice.any { name -> name.startsWith('gpu_') } }
            .collect { choice ->
                def wanted = choice.collect { name -> "--${name}: ${entries[name].description}" }.join(' Or ')
                "-profile ${profile} needs ${wanted}"
            }
    }
}

// Words that end up in the head of a job's script.
def malformed(Map params, Map entries) {
    entries
        .findAll { name, entry -> entry.pattern && params[name] != null && !("${params[name]}" ==~ entry.pattern) }
        .collect { name, entry -> "--${name} ${params[name]}: ${entry.errorMessage}" }
}

// Everything that tasks share must be in the object store.
def outsideOfStore(List profiles, Map params, String work, boolean fetched) {
    stores().subMap(profiles).collectMany { profile, store ->
        def paths = ['-work-dir': work] + (fetched ? ['--model_cache': params.model_cache] : [:])
        paths
            .findAll { _option, path -> !"${path}".startsWith(store) }
            .collect { option, path -> "-profile ${profile} needs ${option} ${store}BUCKET/FOLDER, not ${path}" }
    }
}

// Programs that a profile starts on this machine.
def programs() {
    [
        docker: 'docker', podman: 'podman', apptainer: 'apptainer', singularity: 'singularity', charliecloud: 'ch-run',
        slurm: 'sbatch', lsf: 'bsub', sge: 'qsub', pbspro: 'qsub',
    ]
}

def clusters() {
    ['slurm', 'lsf', 'sge', 'pbspro', 'k8s', 'awsbatch', 'googlebatch', 'azurebatch']
}

// A cluster's nodes may have the containers that this machine lacks.
def withoutProgram(List profiles) {
    def elsewhere = profiles.any { profile -> profile in clusters() }
    programs().subMap(profiles)
        .findAll { profile, _program -> profile in clusters() || !elsewhere }
        .findAll { _profile, program -> !isInstalled(program) }
        .collect { profile, program -> "-profile ${profile} needs the command ${program}, which is not in this machine's PATH" }
}

def isInstalled(String program) {
    "${System.getenv('PATH')}".tokenize(':').any { folder -> java.nio.file.Files.isExecutable(file("${folder}/${program}", glob: false)) }
}

// Docker may be here, and its service not, or not for this user.
def withoutService(List profiles) {
    if (!('docker' in profiles) || profiles.any { profile -> profile in clusters() } || !isInstalled('docker')) {
        return []
    }
    def process = ['docker', 'version', '--format', '{{.Server.Version}}'].execute()
    def messages = new StringBuffer()
    process.waitForProcessOutput(new StringBuffer(), messages)
    def reason = messages.readLines().find { line -> line.trim() } ?: 'it gives no reason'
    process.exitValue() == 0 ? [] : ["-profile docker: docker cannot run containers: ${reason}"]
}

// Paths in an object store that Nextflow cannot look up. VALIDATE would report that there is no such file.
def unreachable(Map params) {
    params
        .findAll { _name, value -> "${value}" =~ '^(s3|gs|az)://' }
        .findResults { name, path ->
            def reason = whyUnreachable("${path}")
            reason ? "--${name} ${path}: ${reason}" : null
        }
}

def whyUnreachable(String path) {
    try {
        file(path, glob: false).exists()
        return null
    }
    catch (Exception error) {
        def reason = reasonOf(error)
        def installed = 'Nextflow downloads it unless it is offline; for the one of make setup, setup/nf_amazon.sh makes that of AWS, and -plugins nf-amazon@2.15.0 starts it'
        return reason.contains('Missing plugin') ? "${reason.replaceAll(' required to read file.*', ' is missing')}: ${installed}" : reason
    }
}

// The message of an SDK without the numbers of its request.
def reasonOf(Exception error) {
    "${error.message ?: error}".readLines().first().replaceAll(/ \(Service: .*/, '')
}

// Results are written to a folder that is there or can be made.
def unwritable(outdir) {
    if ("${outdir}".contains('://')) {
        return []
    }
    def parent = nearest(file("${outdir}", glob: false))
    if (!java.nio.file.Files.isDirectory(parent)) {
        return ["--outdir ${outdir}: ${parent} is a file; name a folder"]
    }
    def reason = whyUnwritable(parent)
    reason ? ["--outdir ${outdir}: nothing can be written in ${parent} (${reason}); name another folder"] : []
}

// Permissions do not show read-only mounts, nor what a file server forbids: only writing does.
def whyUnwritable(Path folder) {
    try {
        java.nio.file.Files.delete(java.nio.file.Files.createTempFile(folder, '.c2sflow-', null))
        return null
    }
    catch (IOException error) {
        def reason = error instanceof java.nio.file.FileSystemException ? error.reason : error.message
        return error instanceof java.nio.file.AccessDeniedException ? 'permission denied' : reason ?: 'no files are made there'
    }
}

// The path, or of the folders around it the first that is there.
def nearest(Path path) {
    path.exists() || !path.parent ? path : nearest(path.parent)
}

// All of that, a line each, or null.
def placeFaults(String profile, Map params, Path work, boolean fetched) {
    def schema = new groovy.json.JsonSlurperClassic().parseText(file("${projectDir}/nextflow_schema.json").text)
    def entries = schema['$defs'].resources.properties + schema['$defs'].cluster.properties
    def profiles = profile.tokenize(',')
    def faults = missing(profiles, params, entries) + malformed(params, entries) +
        outsideOfStore(profiles, params, work.toUriString(), fetched) + unreachable(params) + withoutProgram(profiles) + withoutService(profiles) +
        unwritable(params.outdir)
    faults ? faults.join('\n') : null
}
