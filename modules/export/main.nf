include { cli } from '../code'

// The predicted cells in the forms of other tools' benchmarks.
process EXPORT {
    label 'process_medium'

    input:
    tuple path(cells), path(perturbed)
    val options
    val code

    output:
    path 'exports/*', emit: folders
    tuple val(task.process), eval('c2s versions anndata h5py pandas scanpy || true'), emit: versions

    script:
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_NUM_THREADS=${task.cpus}
    c2s export --cells=${cells} --perturbed=c2s_perturbed.h5ad ${cli(options)}
    """

    stub:
    """
    mkdir -p exports/stub
    touch exports/stub/README.md
    """
}
