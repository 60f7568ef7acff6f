include { quote } from '../code'

// The data files that a samplesheet names. Nothing is judged here: that is VALIDATE's.
process SHEET {
    label 'process_single'

    input:
    path sheet, stageAs: 'sheet/*'
    val code

    output:
    path 'sheet.json', emit: rows // paths: [path of each row, or null]; null if this is no samplesheet but data

    script:
    """
    c2s sheet --sheet=${quote(sheet.name)}
    """

    stub:
    """
    c2s sheet --sheet=${quote(sheet.name)}
    """
}
