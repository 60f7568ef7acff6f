include { EVALUATE    } from '../../modules/evaluate'
include { FETCH as FETCH_ENCODER } from '../../modules/fetch'
include { TEXT_SCORES } from '../../modules/text_scores'
include { code        } from '../../modules/code'
include { modelFiles  } from '../../modules/inputs'
include { byName      } from '../../modules/run'

// Every score that the run has a ground truth for; those of generated text by an encoder such as
// BioBERT. Without --evaluate, or --text_encoder, no options come, and nothing runs.
workflow EVALUATION {
    take:
    samples       // samples.json
    cells         // <sample>.h5ad of QC
    sentences     // <sample>.sentences.json
    shards        // <shard>.parquet
    embeddings    // <shard>.embedding.h5ad
    annotations   // <shard>.annotation.parquet
    predictions   // <shard>.perturbed.parquet
    generated     // <task>.generated.parquet
    local_encoder // [file of the text encoder], or [] for one of the hub, or none
    options       // [step: [option: value]]

    main:
    evaluating = options.filter { steps -> steps.evaluating }.map { steps -> steps.evaluate }
    EVALUATE(
        samples, byName(cells), byName(sentences), byName(shards), byName(embeddings), byName(annotations),
        byName(predictions), byName(generated), evaluating, code('evaluate'),
    )

    // [file of the text encoder]; of the hub only if one is named
    FETCH_ENCODER(options.map { steps -> steps.text_encoder }.filter { named -> named.model && !local_encoder })
    encoder = local_encoder
        ? channel.value(local_encoder)
        : FETCH_ENCODER.out.folder.map { folder -> modelFiles(folder) }
    scoring = options.filter { steps -> steps.text_encoder.model }.map { steps -> steps.text_scores }
    TEXT_SCORES(byName(shards), byName(annotations), byName(predictions), encoder, scoring, code('text_scores'))

    tables = byName(EVALUATE.out.tables.mix(TEXT_SCORES.out.table).flatten())
    versions = EVALUATE.out.versions.mix(TEXT_SCORES.out.versions)

    emit:
    tables // [table], or []
    versions
}
