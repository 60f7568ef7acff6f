include { GROUPS } from '../../modules/groups'
include { code   } from '../../modules/code'
include { byName } from '../../modules/channels'

// Groups of cells that share a prompt: of each sample, or of all together. Without
// --cells_per_prompt no options come, and nothing runs.
workflow GROUPING {
    take:
    cells   // <sample>.h5ad
    obs     // <sample>.obs.parquet
    shards  // [meta of the sample, [shard]]
    options // [step: [option: value]]

    main:
    grouping = options.filter { steps -> steps.asked_for.groups }
    // [id of the sample, obs, [shard], h5ad]
    samples = obs
        .map { table -> [table.name - '.obs.parquet', table] }
        .join(shards.map { meta, files -> [meta.id, files] })
        .join(cells.map { h5ad -> [h5ad.name - '.h5ad', h5ad] })
    own = samples
        .combine(grouping)
        .filter { _id, _table, _files, _h5ad, steps -> !steps.groups.groups_across_samples }
        .map { id, table, files, h5ad, steps -> [[id: id], table, files, steps.groups.group_by == 'neighbours' ? h5ad : []] }
    joint = grouping
        .filter { steps -> steps.groups.groups_across_samples }
        .combine(byName(obs).map { files -> [files] })
        .combine(byName(shards.flatMap { _meta, files -> files }).map { files -> [files] })
        .map { _steps, tables, files -> [[id: 'all'], tables, files, []] }
    GROUPS(own.mix(joint), grouping.map { steps -> steps.groups }, code('groups'))
    drawn = GROUPS.out.shards.flatMap { meta, files -> files.collect { shard -> [[id: shard.baseName, sample: meta.id], shard] } }
    files = GROUPS.out.members.mix(GROUPS.out.summary)
    versions = GROUPS.out.versions

    emit:
    drawn // [[id: name of the shard, sample: id of its sample, or all], <shard>.parquet]
    files // <id>.members.parquet, <id>.groups.json
    versions
}
