include { cli; quote } from '../code'

// Finds every fault a user can make before anything else starts. Its report is either the log of
// what was found (validation.log) or the list of faults (faults.txt, shown by main.nf).
process VALIDATE {
    label 'process_single'

    input:
    tuple path(sheet, stageAs: 'sheet/*'), path(data, stageAs: 'inputs/?/*', arity: '0..*'), val(rows)
    tuple path(perturbations, stageAs: 'perturbations/*'), path(embedding_prompt, stageAs: 'embedding_prompt/*'), path(perturbation_prompt, stageAs: 'perturbation_prompt/*'), path(gene_sets, stageAs: 'gene_sets/*'), path(gene_vocabulary, stageAs: 'gene_vocabulary/*'), path(cell_types, stageAs: 'cell_types/*'), path(annotation_prompt, stageAs: 'annotation_prompt/*'), path(generation_prompt, stageAs: 'generation_prompt/*'), path(gene_symbols, stageAs: 'gene_symbols/*'), path(encoder, stageAs: 'text_encoder/*')
    path model, stageAs: 'model/*'
    val params_json
    path schemas
    val code

    output:
    path '{validation.log,faults.txt}', emit: report
    path 'samples.json', optional: true, emit: samples
    path 'options.json', optional: true, emit: options
    tuple val(task.process), eval('c2s versions anndata pandas jsonschema'), emit: versions

    script:
    def staged = rows.collect { row -> row == null ? null : data[row].name }
    def files = [
        sheet: sheet, perturbations_file: perturbations, embedding_prompt_file: embedding_prompt,
        perturbation_prompt_file: perturbation_prompt, gene_sets_file: gene_sets,
        gene_vocabulary_file: gene_vocabulary, cell_types_file: cell_types,
        annotation_prompt_file: annotation_prompt, generation_prompt_file: generation_prompt,
        gene_symbols_file: gene_symbols,
    ]
    def given = files.findAll { _name, file -> file }.collectEntries { name, file -> [name, file.name] }
    """
    status=0
    c2s validate \\
        --params=${quote(params_json)} \\
        --staged=${quote(groovy.json.JsonOutput.toJson(staged))} \\
        --schema=nextflow_schema.json \\
        --input-schema=schema_input.json \\
        ${cli(given + (model ? [model_dir: 'model'] : [:]) + (encoder ? [text_encoder_dir: 'text_encoder'] : [:]))} \\
        2> messages || status=\$?
    cat messages >&2
    case \$status in
        0) mv messages validation.log ;;
        1) mv messages faults.txt ;;
        *) exit \$status ;;
    esac
    """

    stub:
    def samples = rows.indices.collect { row -> [id: "sample_${row}", sample: "sample ${row}", input: row, obs: [:]] }
    // Of the command line's values 26.04's strict parser makes texts.
    def typed = { value -> value in ['true', 'false'] ? value == 'true' : "${value}".isInteger() ? "${value}".toInteger() : value }
    def given = new groovy.json.JsonSlurperClassic().parseText(params_json).collectEntries { name, value -> [name, typed.call(value)] }
    def schema = new groovy.json.JsonSlurperClassic().parseText(file("${projectDir}/nextflow_schema.json").text)
    def options = schema['$defs'].collectEntries { name, group -> [name, given.subMap(group.properties.keySet())] }
    if (options.generation?.generate) {
        options.generation.tasks = 2
    }
    """
    echo ${quote(groovy.json.JsonOutput.toJson(samples))} > samples.json
    echo ${quote(groovy.json.JsonOutput.toJson(options))} > options.json
    echo 'stub: nothing was checked' > validation.log
    """
}
