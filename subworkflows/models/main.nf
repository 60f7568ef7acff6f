include { FETCH; FETCH as FETCH_ENCODER } from '../../modules/fetch'
include { MODEL      } from '../../modules/model'
include { code       } from '../../modules/code'
include { modelFiles } from '../../modules/inputs'
include { faultsIn   } from '../../modules/run'

// The models that a run starts from, fetched if they are not here, and checked before any cell is
// read.
workflow MODELS {
    take:
    local   // [file of a local model], or []
    missing // what is to be fetched: [option of FETCH: value], or null if everything is here
    encoder // [file of a local text encoder], or []
    options // [step: [option: value]]

    main:
    FETCH(options.filter { _steps -> missing != null }.map { steps -> steps.fetch + missing })
    base = missing == null
        ? channel.value(local)
        : FETCH.out.folder.map { folder -> local + modelFiles(folder) }.first()
    FETCH_ENCODER(options.filter { steps -> steps.asked_for.text_scores && !encoder }.map { steps -> steps.fetch_encoder })
    text_encoder = encoder
        ? channel.value(encoder)
        : FETCH_ENCODER.out.folder.map { folder -> modelFiles(folder) }.ifEmpty([])

    MODEL(base, text_encoder, options.map { steps -> steps.model }, code('model'))
    MODEL.out.report.subscribe { report ->
        def faults = faultsIn(report)
        if (faults) {
            error(faults)
        }
    }
    description = MODEL.out.description
    versions = MODEL.out.versions

    emit:
    base         // [file of the model], [] where one is trained from scratch
    text_encoder // [file of the text encoder], or []
    description  // model.json: comes when the models are known to be whole
    versions
}
