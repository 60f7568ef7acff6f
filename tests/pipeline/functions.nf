// Prints what functions of the modules return, for test_functions.py to judge.

include { cli; closureOf; quote } from '../../modules/code'
include { baseId; findInput; findModel; toFetch } from '../../modules/inputs'
include { progressLines; taskFolders } from '../../modules/progress'
include { unwritable; withoutProgram; withoutService } from '../../modules/places'
include { foldersWithoutRoom } from '../../modules/run'

process ECHO {
    input:
    val options

    output:
    path 'arguments.json'

    script:
    """
    #!/bin/bash
    python3 -c 'import json, sys; json.dump(sys.argv[1:], open("arguments.json", "w"))' ${cli(options)}
    """
}

workflow {
    def root = file("${projectDir}/../..").toRealPath()
    def steps = files("${root}/bin/c2sflow/steps/*.py").findAll { step -> step.name != '__init__.py' }
    def closures = steps.collectEntries { step ->
        [step.baseName, closureOf([step]).collect { source -> "${root.resolve('bin').relativize(source)}" }]
    }
    def cases = new groovy.json.JsonSlurperClassic().parseText(file(params.cases).text)
    def inputs = cases.inputs.collectEntries { name, paths ->
        def (sheet, data, rows) = findInput(name, paths)
        [name, [sheet ? "${sheet.name}" : null, data.collect { path -> "${path.name}" }, rows]]
    }
    // The demo's samplesheet, where the work folder is in an object store: of no file system's default.
    def store = java.nio.file.FileSystems.newFileSystem(file('store.zip'), [:])
    def (sheet_there, data_there) = findInput(store.getPath('/sheet.csv'), ['cells.h5ad', 'missing.h5ad'])
    def models = cases.models.collectEntries { name -> [name, findModel(name).collect { path -> "${path.name}" }] }
    def fetched = cases.models.collectEntries { name -> [name, toFetch(findModel(name), null)] }
    def base_ids = cases.models.collectEntries { name -> [name, baseId(name, findModel(name))] }
    def places = cases.profiles.collectEntries { name -> [name, withoutProgram(name.tokenize(',')) + withoutService(name.tokenize(','))] }
    def outdirs = cases.outdirs.collectEntries { name -> [name, unwritable(name)] }
    def full = foldersWithoutRoom(cases.places.collect { folder -> file(folder) }, cases.failure)
    def work = file('progress')
    def earlier = taskFolders(work).findAll { folder -> folder.endsWith('earlier') }.toSet()
    def seen = [:]
    def counts = [embed: [tasks: 5, finished: 1]]
    def progress = [progressLines(work, earlier, seen, counts), progressLines(work, earlier, seen, counts)]
    ECHO(cases.options)
    ECHO.out.map { arguments ->
        println(groovy.json.JsonOutput.toJson([
            closures: closures,
            inputs: inputs,
            in_store: ([sheet_there] + data_there).collect { path -> "${path.toUri()}" },
            models: models,
            fetched: fetched,
            base_ids: base_ids,
            places: places,
            outdirs: outdirs,
            full: full.collect { folder -> "${folder}" },
            progress: progress.collect { lines -> lines.collect { line -> "${line}".toString() } },
            other_base: findModel('adapter', 'someone/else').collect { path -> "${path.name}" } + [toFetch(findModel('adapter', 'someone/else'), 'someone/else')],
            arguments: new groovy.json.JsonSlurperClassic().parseText(arguments.text),
        ]))
    }
}
