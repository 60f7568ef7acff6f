include { CENSUS       } from '../../modules/census'
include { DEMO         } from '../../modules/demo'
include { SHEET        } from '../../modules/sheet'
include { VALIDATE     } from '../../modules/validate'
include { code         } from '../../modules/code'
include { censusFolder; censusQueries; findFile; findInput; maybeSheet; stageable } from '../../modules/inputs'
include { faultsIn; readJson; toJson } from '../../modules/channels'

// What a run reads, checked: every fault a user can make stops the run here.
workflow INPUT {
    take:
    params_map // the parameters, as Nextflow has them
    named      // [parameter: [file that it names] or []]
    model      // [file of a local model], or []
    encoder    // [file of a local text encoder], or []

    main:
    input = params_map.input == 'demo' ? DEMO(code('demo')).sheet : channel.value("${params_map.input ?: ''}")
    SHEET(input.filter { name -> maybeSheet(findFile(name)) }.map { name -> stageable(findFile(name)) }, code('sheet'))
    named_data = input.combine(SHEET.out.rows.map { json -> readJson(json) }.ifEmpty([paths: null]))
    queries = named_data.flatMap { name, rows -> censusQueries(name, rows.paths) }
    CENSUS(queries.map { query -> [query, censusFolder(query)] }, code('census'))
    // [samplesheet or [], [data file], [for each row the index of its file, or null]]
    source = named_data
        .combine(CENSUS.out.cells.toList().map { found -> [found.collectEntries()] })
        .map { name, rows, cells -> findInput(name, rows.paths, cells) }
        .first()
    schemas = files("${projectDir}/{nextflow_schema.json,assets/schema_input.json}")
    VALIDATE(source, named.keySet().toList().findAll { name -> named[name] }, named.values().collectMany { files -> files }, model, encoder, toJson(params_map), schemas, code('validate'))
    VALIDATE.out.report.subscribe { report ->
        def faults = faultsIn(report)
        if (faults) {
            error(faults)
        }
    }
    data = VALIDATE.out.samples
        .combine(source)
        .flatMap { list, _sheet, files, rows ->
            readJson(list).collect { meta -> [meta.findAll { key, _value -> key != 'input' }, files[rows[meta.input]]] }
        }
    sheet = VALIDATE.out.samples
    parameters = VALIDATE.out.parameters
    options = VALIDATE.out.options.map { file -> readJson(file) }
    versions = VALIDATE.out.versions.mix(CENSUS.out.versions.map { process, lines -> [process, lines.text] })

    emit:
    data       // [meta of the sample, data file]
    sheet      // samples.json
    parameters // parameters.json
    options    // [step: [option: checked value], asked_for: [step: whether it is part of the run], n_tasks: [step: number]]
    versions
}
