"""Which features are genes: the others (antibodies, guides, tags, peaks, …) are in no sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.genes.names import once_a_name, texts_of

GENES, ALL = "genes", "all"
# Columns of var that hold types of features, of Cell Ranger, muon, Seurat and CELLxGENE.
TYPE_COLUMNS = ("feature_types", "feature_type", "modality", "feature_biotype")
# What files call each kind; compared in small letters, anything else than letters a space.
KINDS = {
    "antibodies": (
        "antibody capture", "antibody", "antibodies", "adt", "adts", "antibody derived tag",
        "antibody derived tags", "protein", "proteins", "prot", "protein expression", "cite",
        "cite seq", "citeseq", "surface protein", "surface proteins", "abseq", "ab", "epitope",
    ),
    "antigens": ("antigen capture", "antigen"),
    "guides": (
        "crispr guide capture", "crispr", "crispr guide", "guide", "guides", "guide capture",
        "grna", "grnas", "sgrna", "sgrnas", "guide rna",
    ),
    "tags": (
        "multiplexing capture", "multiplexing", "hto", "htos", "hashtag", "hashtags",
        "hashtag oligo", "hashtag oligos", "cell hashing", "hashing", "cmo", "cmos", "sample tag",
    ),
    "peaks": (
        "peaks", "peak", "atac", "atac seq", "chromatin accessibility", "chromatin",
        "accessibility",
    ),
    "custom": ("custom", "custom capture"),
    "spike_ins": ("spike in", "spike ins", "spikein", "spike", "ercc"),
    "controls": (
        "negative control codeword", "negative control probe", "unassigned codeword",
        "deprecated codeword", "genomic control", "blank codeword", "blank", "negative",
        "negative control", "systemcontrol", "system control", "false code", "falsecode",
    ),
}  # fmt: skip
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
_GENE_TYPES = {
    "gene expression", "targeted gene expression", "gex", "rna", "mrna", "scrna", "snrna",
    "scrna seq", "snrna seq", "rna seq", "gene", "genes", "expression", "transcriptome",
    "whole transcriptome", "transcriptomics",
}  # fmt: skip
# Biotypes of Ensembl and GENCODE, which CELLxGENE has in feature_type.
_BIOTYPE = re.compile(
    r"(?!.*(grna|guide|crispr|barcode|control))(.*(rna|gene|protein coding.*)|antisense|tec|"
    r"artifact|ribozyme|sense (intronic|overlapping)|(processed|non coding) transcript|"
    r"retained intron|nonsense mediated decay|non stop decay)"
)
# Names that no gene has: peaks chr1:10-20, barcodes' names, ERCC's transcripts.
_NAMES = {
    "peaks": r"^(?:[A-Za-z0-9]+_+)?(?:chr)?(?:\d{1,2}|[XYM]|MT|[A-Z]{2}\d+\.\d)[:_-]\d+[_-]\d+$",
    "antibodies": r"(?i:[_.-]TotalSeq[-_]?[A-D]?$|^(?:adt|prot|cite)[_:-])",
    "tags": r"(?i:^(?:hto|hashtag)[_:-]?\d|^CMO3\d\d$)",
    "spike_ins": r"^ERCC[-_.]\d{5}$",
}
_OF_NO_GENE = re.compile("|".join(_NAMES.values()))
_ENSEMBL = r"^(?:\w+?_+)?ENS[A-Z]{0,6}G\d{6,}"
HOW = (
    "--features names the types that are genes (such as --features 'Gene Expression'), "
    "or keeps everything: --features all"
)


@dataclass(frozen=True)
class Features:
    """Which columns are genes, and what the others are.

    Attributes
    ----------
    is_gene
        bool (n_features,).
    kinds
        Kind of each feature, object (n_features,): "genes", a key of `KINDS`, or what the file
        calls it.
    """

    is_gene: np.ndarray
    kinds: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """How many features of each kind are left out."""
        found = pd.Series(self.kinds[~self.is_gene], dtype=object).value_counts(sort=False)
        return {str(kind): int(n) for kind, n in found.items()}


def find_features(var: pd.DataFrame, asked: str, where: str) -> Features:
    """Which features are genes.

    A column of `TYPE_COLUMNS` decides, in any spelling; without one, names that no gene has (peaks,
    TotalSeq antibodies, ERCC spike-ins) are distinguished from genes.

    Parameters
    ----------
    var
        Annotation of the features.
    asked
        "genes"; "all", which takes every feature for a gene; or, with commas between, the types of
        var's column that are genes.
    where
        The sample's name and file, for messages.

    Raises
    ------
    UserError
        If a type is not known, or nothing is a gene.
    """
    if asked == ALL:
        return Features(np.full(len(var), True), np.full(len(var), GENES, dtype=object))
    columns = type_columns(var)
    if asked != GENES:
        kinds = _chosen(var, columns, asked, where)
    else:
        kinds = _kinds_by_type(var, columns, where) if columns else np.full(len(var), "", object)
        by_name = _kinds_by_name(var.index)
        # A reference with ERCC's transcripts has them among the genes.
        kinds = np.where((kinds == "") | (by_name == "spike_ins"), by_name, kinds).astype(object)
    is_gene = kinds == GENES
    if not is_gene.any():
        found = Features(is_gene, kinds).counts
        many = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in found.items())
        raise UserError(
            f"{where}: no feature is a gene ({many}); give the matrix of gene expression; {HOW}"
        )
    return Features(is_gene, kinds)


def type_columns(var: pd.DataFrame) -> list[str]:
    """Columns of var that hold types of features, the most specific first."""
    spelled = {re.sub(r"[^a-z]", "", str(name).lower()): name for name in reversed(var.columns)}
    found = [spelled.get(name.replace("_", "")) for name in TYPE_COLUMNS]
    return [name for name in found if name is not None and _texts(var[name]).ne("").any()]


def _texts(column: pd.Series) -> pd.Series:
    """Values as text, empty where missing."""
    texts = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    return texts.where(~texts.str.lower().isin(["nan", "none", "<na>", "na"]), "")


def kind_of(text: str) -> str:
    """Kind of a type as files spell it; empty if it is not known."""
    plain = " ".join(re.sub(r"[^a-z]+", " ", text.lower()).split())
    if plain in _KIND_OF:
        return _KIND_OF[plain]
    return GENES if plain in _GENE_TYPES or _BIOTYPE.fullmatch(plain) else ""


def _kinds_by_type(var: pd.DataFrame, columns: list[str], where: str) -> np.ndarray:
    """Kind of each feature, empty where names are to decide."""
    kinds = np.full(len(var), "", dtype=object)
    unknown = pd.Series("", index=range(len(var)), dtype=object)
    for name in columns:
        texts = _texts(var[name]).to_numpy(dtype=object)
        known = {text: kind_of(text) for text in set(texts) - {""}}
        found = np.array([known.get(text, "") for text in texts], dtype=object)
        unknown = unknown.where(~((texts != "") & (found == "")), texts)
        # A label "not a gene" is reliable; a label "gene" may be "protein_coding" by default.
        kinds = np.where((found != "") & ((kinds == "") | (found != GENES)), found, kinds)
    _check_types(var, columns, kinds, unknown.to_numpy(), where)
    return kinds.astype(object)


def _check_types(
    var: pd.DataFrame, columns: list[str], kinds: np.ndarray, unknown: np.ndarray, where: str
) -> None:
    """Refuse types that are not known; a missing one where the identifier is no gene's."""
    known = kinds != ""
    is_ensembl = _has_ensembl_id(var)
    odd = ~known & (unknown != "")
    # One word for every gene of a file is no type of feature.
    if odd.any() and not (len(set(unknown[odd])) == 1 and odd.all() and is_ensembl.mean() > 0.5):
        texts = pd.Series(unknown[odd]).value_counts()
        many = ", ".join(f"{text!r} ({n})" for text, n in texts.head(5).items())
        raise UserError(
            f"{where}: var[{columns[0]!r}] holds unknown types of features: {many}; {HOW}"
        )
    by_name = _kinds_by_name(var.index) != GENES
    missing = ~known & ~odd & ~is_ensembl & ~by_name
    if missing.any():
        raise UserError(
            f"{where}: var[{columns[0]!r}] is empty for {int(missing.sum())} features (such as "
            f"{var.index[missing][0]!r}): are they genes? Fill it in, or {HOW}"
        )


def _has_ensembl_id(var: pd.DataFrame) -> np.ndarray:
    """Which features have an Ensembl id of a gene, as name or in a column of identifiers."""
    found = np.asarray(var.index.astype(str).str.match(_ENSEMBL), dtype=bool)
    for name in var.columns:
        if str(name).lower() in (
            "gene_ids",
            "gene_id",
            "ensembl_id",
            "ensembl",
            "id",
            "feature_id",
        ):
            found |= _texts(var[name]).str.match(_ENSEMBL).to_numpy(dtype=bool)
    return found


def _kinds_by_name(names: pd.Index) -> np.ndarray:
    return np.array(list(map(_kind_by_name, texts_of(names))), dtype=object)


@once_a_name
def _kind_by_name(name: str) -> str:
    """The last kind of `_NAMES` that has such names."""
    if not _OF_NO_GENE.search(name):
        return GENES
    return next((kind for kind in reversed(_NAMES) if re.search(_NAMES[kind], name)), GENES)


def _key(text: str) -> str:
    """A type as the name of an entry of obsm."""
    return re.sub(r"\W+", "_", text).strip("_").lower()


def _chosen(var: pd.DataFrame, columns: list[str], asked: str, where: str) -> np.ndarray:
    """Genes are the features of the types that are named."""
    if not columns:
        raise UserError(
            f"{where}: --features {asked}: var has no column of types ({', '.join(TYPE_COLUMNS)}); "
            "add one, or leave --features out"
        )
    wanted = [part.strip() for part in asked.split(",") if part.strip()]
    for name in columns:
        texts = _texts(var[name])
        if set(wanted) <= set(texts):
            known = {text: kind_of(text) or _key(text) for text in set(texts)}
            known = {t: "other" if k in (GENES, "") else k for t, k in known.items()}
            return np.array([GENES if t in wanted else known[t] for t in texts], dtype=object)
    found = ", ".join(sorted(set(_texts(var[columns[0]])) - {""}))
    raise UserError(
        f"{where}: --features {asked}: not among the types of var[{columns[0]!r}] ({found}); give "
        "genes, all, or types of that column with commas between"
    )
