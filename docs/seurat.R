#!/usr/bin/env Rscript
# Makes a Seurat object, an .rds file, of a result: c2s.h5ad, c2s_perturbed.h5ad or c2s_groups.h5ad.
#
#   Rscript docs/seurat.R results/c2s.h5ad c2s.rds
#
# It needs SeuratObject and Matrix (install.packages) and rhdf5 (BiocManager::install).

suppressPackageStartupMessages({
  library(SeuratObject)
  library(rhdf5)
})

read <- function(name) h5read(path, name, bit64conversion = "double")
attributes_of <- function(name) h5readAttributes(path, name)
children <- function(group) entries$name[entries$group == paste0("/", group)]

# Values as R has them: HDF5's truth values come as a factor.
plain <- function(values) if (is.factor(values)) as.character(values) == "TRUE" else as.vector(values)

# A column of obs as anndata writes it: an array, or a group of codes and categories, or of values
# and a mask of those that are missing.
read_column <- function(name) {
  column <- read(name)
  if (!is.list(column)) return(plain(column))
  if ("codes" %in% names(column)) {
    codes <- as.vector(column$codes)
    codes[codes < 0] <- NA
    levels <- as.vector(column$categories)
    return(factor(levels[codes + 1], levels = levels))
  }
  values <- plain(column$values)
  values[plain(column$mask)] <- NA
  values
}

# The names of cells (obs) or genes (var).
read_names <- function(group) as.vector(read(paste0(group, "/", attributes_of(group)[["_index"]])))

# Cells × genes on disk, genes × cells in R. Rows of a CSR matrix are the columns of its transpose.
read_matrix <- function(name) {
  dims <- c(length(genes), length(cells))
  kind <- attributes_of(name)[["encoding-type"]]
  values <- if (identical(kind, "csr_matrix")) {
    csr <- read(name)
    Matrix::sparseMatrix(i = csr$indices, p = csr$indptr, x = as.numeric(csr$data), dims = dims, index1 = FALSE)
  } else if (identical(kind, "csc_matrix")) {
    csc <- read(name)
    Matrix::t(Matrix::sparseMatrix(i = csc$indices, p = csc$indptr, x = as.numeric(csc$data), dims = rev(dims), index1 = FALSE))
  } else {
    methods::as(matrix(as.numeric(read(name)), nrow = dims[1]), "CsparseMatrix")
  }
  dimnames(values) <- list(genes, cells)
  values
}

arguments <- commandArgs(trailingOnly = TRUE)
if (length(arguments) != 2) stop("usage: Rscript seurat.R RESULT.h5ad NEW.rds", call. = FALSE)
path <- arguments[1]
if (!file.exists(path)) stop(path, ": no such file", call. = FALSE)
entries <- h5ls(path, recursive = 3, datasetinfo = FALSE)

cells <- read_names("obs")
genes <- read_names("var")
# Seurat's logarithms are natural ones.
base <- if ("base" %in% children("uns/log1p")) as.numeric(read("uns/log1p/base")) else exp(1)
assay <- CreateAssayObject(data = read_matrix("X") * log(base))
if ("counts" %in% children("layers")) {
  assay <- SetAssayData(assay, "counts", read_matrix("layers/counts"))
}

columns <- as.vector(attributes_of("obs")[["column-order"]])
values <- lapply(setNames(columns, columns), function(name) read_column(paste0("obs/", name)))
object <- CreateSeuratObject(assay, project = "c2sflow")
object@meta.data <- as.data.frame(values, row.names = cells, check.names = FALSE)

for (name in children("obsm")) {
  values <- read(paste0("obsm/", name))
  if (!is.matrix(values)) next # a table
  key <- paste0(tolower(gsub("[^A-Za-z0-9]", "", sub("^X_", "", name))), "_")
  values <- t(values)
  dimnames(values) <- list(cells, paste0(key, seq_len(ncol(values))))
  object[[sub("_$", "", key)]] <- CreateDimReducObject(values, key = key, assay = "RNA")
}

part <- paste0(arguments[2], ".part")
saveRDS(object, part)
invisible(file.rename(part, arguments[2]))
cat(arguments[2], ": ", ncol(object), " cells, ", nrow(object), " genes, reductions: ",
  paste(names(object@reductions), collapse = ", "), "\n", sep = "")
