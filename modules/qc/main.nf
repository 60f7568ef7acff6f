include { cli; quote } from '../code'

// One sample: metrics, filters, gene symbols, normalised and logged.
process QC {
    tag "${meta.id}"
    label 'process_low'

    input:
    tuple val(meta), path(data, stageAs: 'input/*')
    path symbols, stageAs: 'symbols/*' // table of gene symbols, or []
    val options
    val code

    output:
    tuple val(meta), path("${meta.id}.h5ad"), emit: cells
    path "${meta.id}.qc.json", emit: summary
    tuple val(task.process), eval('c2s versions anndata numpy scipy || true'), emit: versions

    script:
    def sample = meta.subMap('id', 'sample', 'organism', 'input_state', 'log_base', 'state_declared', 'gene_symbols', 'input_kind', 'matrix', 'features', 'genome')
    def table = symbols ? [gene_symbols_file: symbols.name] : [:]
    def obs = meta.obs.collect { column, value -> "--obs=${quote("${column}=${value}")}" }.join(' ')
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s qc --h5ad=${quote(data.name)} ${cli(options + sample + table)} ${obs}
    """

    stub:
    """
    touch ${meta.id}.h5ad ${meta.id}.qc.json
    """
}
