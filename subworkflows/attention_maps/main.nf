include { ATTENTION } from '../../modules/attention'
include { CHOOSE    } from '../../modules/choose'
include { PAIRS     } from '../../modules/pairs'
include { code      } from '../../modules/code'
include { byName    } from '../../modules/channels'

// Attention maps of some cells, and the strongest gene pairs of each label. Without
// --attention_maps no options come, and nothing runs. (It is called all the same: Nextflow names
// eval outputs by counting the processes called so far, and a process with another count is not
// resumed.)
workflow ATTENTION_MAPS {
    take:
    shards  // [meta of the shard, shard, sentences.json]
    cells   // <sample>.obs.parquet
    model   // [file of the model]
    options // [step: [option: value]]

    main:
    mapping = options.filter { steps -> steps.asked_for.choose }.map { steps -> steps.choose }
    CHOOSE(byName(cells), mapping, code('choose'))

    // [name of the shard, its task, the cells of it that get a map]
    chosen = CHOOSE.out.chosen.flatten().map { table -> [table.name - '.chosen.parquet', table.parent.name, table] }

    // [[id], [shard], [its chosen cells]]: a task for some cells, of as many shards as hold them
    attended = shards
        .map { meta, shard, _genes -> [meta.id, shard] }
        .join(chosen)
        .map { _name, shard, task, table -> [task, [shard, table]] }
        .groupTuple()
        .map { task, rows -> [[id: task]] + rows.sort { row -> row[0].name }.transpose() }
    ATTENTION(attended, model, options.map { steps -> steps.attention }, code('attention'))
    PAIRS(byName(ATTENTION.out.maps).filter { maps -> maps }, code('pairs'))

    pairs = PAIRS.out.table.ifEmpty([])
    versions = CHOOSE.out.versions.mix(ATTENTION.out.versions, PAIRS.out.versions)

    emit:
    pairs // attention_pairs.tsv, or []
    versions
}
