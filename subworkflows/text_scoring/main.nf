include { TEXT_SCORES } from '../../modules/text_scores'
include { code        } from '../../modules/code'
include { byName      } from '../../modules/run'

// Scores of generated text by an encoder such as BioBERT. Without --text_encoder no options come, and
// nothing runs.
workflow TEXT_SCORING {
    take:
    shards      // [meta of the shard, shard, sentences.json]
    annotations // <shard>.annotation.parquet
    predictions // <shard>.perturbed.parquet
    encoder     // [file of the encoder]
    options     // [step: [option: value]]

    main:
    scoring = options.filter { steps -> steps.text_encoder.model }
    TEXT_SCORES(
        byName(shards.map { _meta, shard, _genes -> shard }), byName(annotations), byName(predictions),
        encoder, scoring.map { steps -> steps.text_scores }, code('text_scores'),
    )
    scores = TEXT_SCORES.out.table
    versions = TEXT_SCORES.out.versions

    emit:
    scores // text_scores.tsv
    versions
}
