include { cli; quote } from '../code'

// Finds every fault a user can make before anything else starts. Its report is either the log of
// what was found (validation.log) or the list of faults (faults.txt, shown by main.nf).
process VALIDATE {
    label 'process_low'

    input:
    tuple path(sheet, stageAs: 'sheet/*'), path(data, stageAs: 'inputs/?/*', arity: '0..*'), val(rows)
    val named // parameters that name a file
    path files, stageAs: 'named/?/*', arity: '0..*' // their files
    path model, stageAs: 'model/*', arity: '0..*'
    path encoder, stageAs: 'text_encoder/*', arity: '0..*'
    val params_json
    path schemas
    val code

    output:
    path '{validation.log,faults.txt}', emit: report
    path 'samples.json', optional: true, emit: samples
    path 'parameters.json', optional: true, emit: parameters
    path 'options.json', optional: true, emit: options
    tuple val(task.process), eval('c2s versions anndata pandas jsonschema || true'), emit: versions

    script:
    def staged = rows.collect { row -> row == null ? null : data[row].name }
    def given = [
        sheet: sheet ? sheet.name : null,
        named: groovy.json.JsonOutput.toJson([named, files*.name].transpose().collectEntries()),
        model_dir: model ? 'model' : null,
        text_encoder_dir: encoder ? 'text_encoder' : null,
    ]
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    status=0
    c2s validate \\
        --params=${quote(params_json)} \\
        --staged=${quote(groovy.json.JsonOutput.toJson(staged))} \\
        --schema=nextflow_schema.json \\
        --input-schema=schema_input.json \\
        ${cli(given)} \\
        2> messages || status=\$?
    cat messages >&2
    case \$status in
        0) mv messages validation.log ;;
        1) mv messages faults.txt ;;
        *) exit \$status ;;
    esac
    """

    stub:
    """
    c2s validate --no-check \\
        --params=${quote(params_json)} \\
        --staged=${quote(groovy.json.JsonOutput.toJson(rows))} \\
        --schema=nextflow_schema.json \\
        --input-schema=schema_input.json
    echo 'stub: nothing was checked' > validation.log
    """
}
