include { quote } from '../code'

// The cells of CELLxGENE Census that a query selects, as a data file. It uses the network.
process CENSUS {
    tag "${query}"
    label 'process_low'

    input:
    tuple val(query), path(store, stageAs: 'census/*') // store: a Census in a folder of its own, or []
    val code

    output:
    tuple val(query), path('census.h5ad'), emit: cells
    tuple val(task.process), path('versions.txt'), emit: versions

    script:
    // What `make census` installed; an image has it as its own.
    def installed = file("${moduleDir}/../../.venv-census/bin")
    def path = workflow.containerEngine || !installed.exists() ? '' : "export PATH=${quote(installed.toRealPath())}:\$PATH"
    """
    ${path}
    c2s census --query=${quote(query)} ${store ? "--store=${quote(store)}" : ''}
    c2s versions anndata cellxgene-census tiledbsoma > versions.txt
    """

    stub:
    """
    touch census.h5ad versions.txt
    """
}
