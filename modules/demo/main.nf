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
    c2s_demo.py --outdir .
    """

    stub:
    """
    touch donor_1.h5ad donor_2.h5ad
    printf 'sample,path\\ndonor_1,donor_1.h5ad\\ndonor_2,donor_2.h5ad\\n' > samplesheet.csv
    """
}
