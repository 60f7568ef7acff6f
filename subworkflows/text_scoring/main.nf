include { FETCH as FETCH_ENCODER } from '../../modules/fetch'
include { TEXT_SCORES            } from '../../modules/text_scores'
include { code                   } from '../../modules/code'
include { modelFiles             } from '../../modules/inputs'
include { byName                 } from '../../modules/run'

// Scores of generated text by an encoder such as BioBERT. Without --text_encoder no options come, and
// nothing runs.
workflow TEXT_SCORING {
    take:
    shards      // [meta of the shard, shard, sentences.json]
    annotations // <shard>.annotation.parquet
    predictions // <shard>.perturbed.parquet
    local       // [file of the encoder's folder], or [] for a Hugging Face id
    options     // [step: [option: value]]

    main:
    scoring = options.filter { steps -> steps.evaluating && steps.text_encoder }
    FETCH_ENCODER(
        scoring.filter { _steps -> !local }
            .map { steps -> [model: steps.text_encoder, model_revision: 'main', encoder: true] }
    )
    encoder = local ? channel.value(local) : FETCH_ENCODER.out.folder.map { folder -> modelFiles(folder) }
    TEXT_SCORES(
        byName(shards.map { _meta, shard, _genes -> shard }), byName(annotations), byName(predictions),
        encoder, scoring.map { steps -> steps.text_scores }, code('text_scores'),
    )

    emit:
    table    = TEXT_SCORES.out.table
    versions = TEXT_SCORES.out.versions
}
