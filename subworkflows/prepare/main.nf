include { QC        } from '../../modules/qc'
include { SENTENCES } from '../../modules/sentences'
include { code      } from '../../modules/code'

// Cells to sentences of genes, in shards.
workflow PREPARE {
    take:
    data    // [meta of the sample, data file]
    symbols // [table of gene symbols], or []
    options // [step: [option: value]]

    main:
    QC(data, symbols, options.map { steps -> steps.qc }, code('qc'))
    SENTENCES(QC.out.cells, options.map { steps -> steps.sentences }, code('sentences'))
    cells = QC.out.cells.map { _meta, h5ad -> h5ad }
    qc = QC.out.summary
    shards = SENTENCES.out.shards
        .transpose(by: 1)
        .map { meta, shard, genes -> [[id: shard.baseName, sample: meta.id], shard, genes] }
    sample_shards = SENTENCES.out.shards.map { meta, files, _genes -> [meta, files] }
    obs = SENTENCES.out.obs
    sentences = SENTENCES.out.summary
    versions = QC.out.versions.mix(SENTENCES.out.versions)

    emit:
    cells     // <sample>.h5ad
    qc        // <sample>.qc.json
    shards    // [[id: name of the shard, sample: id of its sample], <shard>.parquet, <sample>.sentences.json]
    sample_shards // [meta of the sample, [<shard>.parquet]]
    obs       // <sample>.obs.parquet
    sentences // <sample>.sentences.json
    versions
}
