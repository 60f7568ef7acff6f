"""Names of columns of shards and of ``<name>.obs.parquet`` that are ours."""

RESERVED = ("cell_id", "shard", "cell_sentence", "n_genes")

CONTENT = "c2s_content"  # hash of a cell's genes and values

N_GENES = "n_sentence_genes"  # column of <name>.obs.parquet
