"""What a user passes: parameters, samplesheet, lists, tables."""
