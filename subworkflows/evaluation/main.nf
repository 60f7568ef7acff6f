include { EVALUATE    } from '../../modules/evaluate'
include { TEXT_SCORES } from '../../modules/text_scores'
include { code        } from '../../modules/code'
include { byName      } from '../../modules/run'

// Every score that the run has a ground truth for; those of generated text by an encoder such as
// BioBERT. Without --evaluate, or --text_encoder, no options come, and nothing runs.
workflow EVALUATION {
    take:
    samples     // samples.json
    cells       // <sample>.h5ad of QC
    sentences   // <sample>.sentences.json
    shards      // <shard>.parquet
    embeddings  // <shard>.embedding.h5ad
    annotations // <shard>.annotation.parquet
    predictions // <shard>.perturbed.parquet
    generated   // <task>.generated.parquet
    encoder     // [file of the text encoder]
    options     // [step: [option: value]]

    main:
    evaluating = options.filter { steps -> steps.evaluating }.map { steps -> steps.evaluate }
    EVALUATE(
        samples, byName(cells), byName(sentences), byName(shards), byName(embeddings), byName(annotations),
        byName(predictions), byName(generated), evaluating, code('evaluate'),
    )

    scoring = options.filter { steps -> steps.text_encoder.model }.map { steps -> steps.text_scores }
    TEXT_SCORES(byName(shards), byName(annotations), byName(predictions), encoder, scoring, code('text_scores'))

    tables = byName(EVALUATE.out.tables.mix(TEXT_SCORES.out.table).flatten())
    versions = EVALUATE.out.versions.mix(TEXT_SCORES.out.versions)

    emit:
    tables // [table], or []
    versions
}
