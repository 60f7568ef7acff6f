include { GENERATE } from '../../modules/generate'
include { code     } from '../../modules/code'
include { byName; taskName } from '../../modules/channels'

// Generated cells, if asked for: a task for some thousands of them.
workflow GENERATION {
    take:
    sheet      // samples.json
    sentences  // <sample>.sentences.json
    model      // [file of the model]
    vocabulary // [file of the genes that may be generated], or []
    options    // [step: [option: value]]

    main:
    tasks = options.flatMap { steps -> (0..<steps.n_tasks.generate).collect { task -> [id: taskName(task), task: task] } }
    GENERATE(tasks, sheet, byName(sentences), model, vocabulary, options.map { steps -> steps.generate }, code('generate'))
    cells = GENERATE.out.cells
    stats = GENERATE.out.stats
    versions = GENERATE.out.versions

    emit:
    cells // <task>.generated.parquet
    stats // <task>.generate.json
    versions
}
