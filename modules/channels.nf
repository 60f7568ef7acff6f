// What subworkflows do with their channels. It includes nothing: the strict parser of Nextflow 25.04
// refuses a file of functions that includes others where more than one script includes it.

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

// All files of a channel, or of its lists, as one list, in an order that is the same in every run.
def byName(files) {
    files.flatten().toSortedList { one, other -> one.name <=> other.name }
}

// The shards of each task: [[id], [shard]]. Those of small samples are together, as c2sflow.validation.packs
// has it; each of another sample is alone.
def inPacks(samples, options) {
    samples
        .combine(options)
        .flatMap { meta, shards, steps ->
            def pack = steps.packs[meta.id]
            pack ? [[groupKey(pack.id, pack.size), shards]] : shards.collect { shard -> [groupKey(shard.baseName, 1), [shard]] }
        }
        .groupTuple(remainder: true)
        .map { pack, shards -> [[id: "${pack}".toString()], shards.collectMany { files -> files }.sort { shard -> shard.name }] }
}
