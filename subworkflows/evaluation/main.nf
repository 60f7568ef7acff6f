include { EVALUATE    } from '../../modules/evaluate'
include { TEXT_SCORES } from '../../modules/text_scores'
include { code        } from '../../modules/code'
include { byName      } from '../../modules/channels'

// Every score that the run has a ground truth for; those of generated text by an encoder such as
// BioBERT. Without --evaluate, or --text_encoder, no options come, and nothing runs.
workflow EVALUATION {
    take:
    made    // [input, cells, embedding, annotation, …: outputs of these steps]
    encoder // [file of the text encoder], or []
    options // [step: [option: value]]

    main:
    evaluating = options.filter { steps -> steps.asked_for.evaluate }.map { steps -> steps.evaluate }
    shards = byName(made.cells.shards.map { _meta, shard, _genes -> shard })
    annotations = byName(made.annotation.annotations)
    predictions = byName(made.perturbation.predictions)
    EVALUATE(
        made.input.sheet, byName(made.cells.cells), byName(made.cells.sentences), shards, byName(made.embedding.embeddings), annotations,
        predictions, byName(made.generation.cells), evaluating, code('evaluate'),
    )

    scoring = options.filter { steps -> steps.asked_for.text_scores }.map { steps -> steps.text_scores }
    TEXT_SCORES(shards, annotations, predictions, encoder, scoring, code('text_scores'))

    tables = byName(EVALUATE.out.tables.mix(TEXT_SCORES.out.table).flatten())
    versions = EVALUATE.out.versions.mix(TEXT_SCORES.out.versions)

    emit:
    tables // [table], or []
    versions
}
