// The text of --help, and the summary of parameters that a run begins with.

// The groups of nextflow_schema.json in its order (JsonSlurperClassic would lose it):
// [title, description, properties: [name: entry]].
def parameterGroups() {
    new groovy.json.JsonSlurper().parseText(file("${projectDir}/nextflow_schema.json").text)['$defs'].values()
}

// What --help prints: the parameters that matter most, all of them (--help_full), or all about one (--help NAME).
def helpText(asked, boolean everything) {
    def groups = parameterGroups()
    def entries = groups.collectEntries { group -> group.properties }
    def name = "${asked}".replaceFirst('^-+', '')
    if (!(name in ['true', 'false'])) {
        return entries.containsKey(name) ? parameterHelp(name, entries[name]) : "--help ${name}: no such parameter"
    }
    def listed = everything ? groups.collect { group -> fullGroupHelp(group) } : groups.findResults { group -> groupHelp(group, entries) }
    def others = everything ? '' : "    All ${entries.size()} parameters: --help_full"
    "${workflow.manifest.description}\n\n  nextflow run . --input cells.h5ad --outdir results\n\n" +
        "${listed.join('\n\n')}\n\nMore about one of them: --help NAME${others}"
}

// Those of a group that are not `hidden` (as nf-core calls it), each with advice, or null.
def groupHelp(Map group, Map entries) {
    def width = entries.findAll { _name, entry -> !entry.hidden }.keySet()*.length().max()
    def lines = group.properties.findAll { _name, entry -> !entry.hidden }.collectMany { name, entry ->
        ["  --${name.padRight(width)}  ${described(entry)}", "${' ' * (width + 6)}${entry.advice}"]
    }
    lines ? "${group.title}\n${lines.join('\n')}" : null
}

// A group of parameters, a line each: name, type, description, choices, default.
def fullGroupHelp(Map group) {
    def names = group.properties.keySet()*.length().max()
    def types = group.properties.values().collect { entry -> typeOf(entry).length() }.max()
    def lines = group.properties.collect { name, entry ->
        "  --${name.padRight(names)}  ${typeOf(entry).padRight(types)}  ${described(entry)}"
    }
    "${group.title}: ${group.description}\n${lines.join('\n')}"
}

// Description, choices, default.
def described(Map entry) {
    def choice = entry['enum'] ? " (${entry['enum'].join(', ')})" : ''
    def preset = entry.containsKey('default') ? " [default: ${entry['default']}]" : ''
    "${entry.description}${choice}${preset}"
}

def parameterHelp(String name, Map entry) {
    def limits = [minimum: 'at least', exclusiveMinimum: 'more than', maximum: 'at most']
        .findAll { key, _words -> entry.containsKey(key) }
        .collect { key, words -> ", ${words} ${entry[key]}" }
        .join()
    def rows = [
        ['type', typeOf(entry) + limits],
        ['choices', entry['enum']?.join(', ')],
        ['default', entry['default']],
    ]
    def lines = rows.findAll { _key, value -> value != null }.collect { key, value -> "  ${key.padRight(8)} ${value}" }
    def texts = [entry.advice, entry.help_text].findAll { text -> text }.collect { text -> "\n${text}" }
    (["--${name}: ${entry.description}"] + lines + texts).join('\n')
}

def typeOf(Map entry) {
    [entry.type].flatten().join(' or ')
}

// What a run logs first: which version runs where, and the parameters that differ from their default.
def summary(Map given, revision) {
    def run = [
        version: "${workflow.manifest.name} ${workflow.manifest.version}${revision ? " (${revision})" : ''}",
        run: workflow.runName,
        profile: workflow.profile,
        container: workflow.containerEngine,
        launched: workflow.launchDir,
        work: workflow.workDir,
    ]
    def groups = [['Run', run]] + parameterGroups().collect { group ->
        def changed = group.properties.findAll { name, entry -> given[name] != null && "${given[name]}" != "${entry['default']}" }
        [group.title, changed.collectEntries { name, _entry -> [name, given[name]] }]
    }
    groups.collectMany { title, rows ->
        def given_rows = rows.findAll { _name, value -> value != null }
        given_rows ? [title] + given_rows.collect { name, value -> "  ${name.padRight(26)} ${value}" } : []
    }.join('\n')
}
