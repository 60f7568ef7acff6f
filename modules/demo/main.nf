// The demo's data: two samples and their samplesheet.
process DEMO {
    label 'process_single'

    input:
    val code

    output:
    path 'samplesheet.csv', emit: sheet
    path '*.h5ad', emit: data

    script:
    """
    c2s demo --outdir .
    """

    stub:
    """
    touch lane_1.h5ad lane_2.h5ad
    printf 'sample,path\\nlane_1,lane_1.h5ad\\nlane_2,lane_2.h5ad\\n' > samplesheet.csv
    """
}
