"""Genomes of a reference: prefixes such as ``GRCh38_`` removed, the genes of one genome chosen."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.genes.names import once_a_name

# A genome of fewer of the genes than this is an addition to the reference, such as a virus.
MINOR_GENOME = 0.05
# A cell is of a genome from which at least this share of its counts comes.
GENOME_SHARE = 0.9
COLUMN = "genome"
_ASSEMBLY = {
    "human": r"GRCh\d+|hg\d+|T2T|CHM13|hs\d+|human|homo",
    "mouse": r"GRCm\d+|mm\d+|mouse|mus",
    None: (
        r"GRC[a-z]\d+|rn\d+|mRatBN\d*|Rnor|rat|danRer\d*|zebrafish|BDGP\d*|dm\d+|WBcel\d+|ce\d+|"
        r"Mmul|rheMac\d*|Sscrofa|susScr\d*|ARS|bosTau\d*|galGal\d*|bGalGal|canFam\d*|ROS|sacCer\d*|"
        r"R64|TAIR\d*|macFas\d*|panTro\d*|OryCun|Cavpor|MesAur|xenLae\d*|GC[AF]"
    ),
}
_PREFIX = re.compile(r"^([A-Za-z][A-Za-z0-9.]*)[_-]+(?=.)")
_ENSEMBL = re.compile(r"^ENS[A-Z]{0,6}[GT]\d{6,}")
# Genes of any human or mouse reference, in capitals: what is left of a prefixed name.
_COMMON = {
    "ACTB", "GAPDH", "MALAT1", "B2M", "EEF1A1", "TMSB4X", "TPT1", "FTL", "FTH1", "UBC", "PPIA",
    "HSP90AB1", "CD74", "VIM", "ACTG1", "TUBA1B", "ENO1", "PKM", "LDHA", "NPM1", "CALM1", "CFL1",
    "MYL6", "PFN1", "COX4I1", "FOS", "JUN", "FTH1P1", "GNB1", "CD3D", "CD4", "MYC", "TP53", "EGFR",
    "KRAS", "PTEN", "STAT1", "LYZ", "FTH", "HMGB1", "YBX1", "XIST", "NEAT1", "H3F3B", "SOD1",
}  # fmt: skip
_FAMILY = re.compile(r"^(MT-[A-Z]|RP[LS]\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """Genomes of the features.

    Attributes
    ----------
    genome
        Of each feature, object (n_features,); empty where unknown. The names of one organism's
        assemblies are one genome.
    var
        var without prefixes, which are in the column "genome" then.
    n_prefixed
        How many names lost their prefix, by genome.
    """

    genome: np.ndarray
    var: pd.DataFrame
    n_prefixed: dict[str, int]

    def n_genes(self, is_gene: np.ndarray) -> dict[str, int]:
        """Genes of each genome, the largest first."""
        counts = pd.Series(self.genome[is_gene], dtype=object).value_counts()
        return {str(name): int(n) for name, n in counts.items() if name}

    def major(self, is_gene: np.ndarray) -> list[str]:
        """Genomes that the data can be of."""
        counts = self.n_genes(is_gene)
        return [name for name, n in counts.items() if n >= MINOR_GENOME * sum(counts.values())]


def find_genomes(var: pd.DataFrame, is_gene: np.ndarray) -> Reference:
    """Genome of each feature, from ``var["genome"]`` and the prefixes of names and identifiers.

    Parameters
    ----------
    var
        Annotation of the features.
    is_gene
        bool (n_features,): prefixes are looked for among these.
    """
    given = _given_genomes(var)
    named = sorted(set(given) - {""})
    genome, frame, counts = given.copy(), var, {}
    for name in (None, *var.columns):
        values = var.index if name is None else var[name]
        is_identifier = name is None or (name != COLUMN and values.nunique() > len(var) / 2)
        if not (is_identifier and _is_text(values)):
            continue
        texts = _texts(values)
        prefixes = _prefixes(texts, is_gene, named)
        if not prefixes:
            continue
        cleaned, removed = _without(texts.to_numpy(dtype=object), prefixes)
        genome = np.where((genome == "") & (removed != ""), removed, genome)
        if name is None:
            counts = {g: int((removed == g).sum()) for g in sorted(set(removed) - {""})}
            frame = frame.set_axis(pd.Index(cleaned, dtype=object), axis=0)
        else:
            column = pd.Series(cleaned, index=frame.index, dtype=object)
            missing = np.asarray(values.isna())
            frame = frame.assign(**{str(name): column.where(~missing, None)})
    if counts and COLUMN not in frame:
        frame = frame.assign(**{COLUMN: genome})  # from the prefix, for the organism
    return Reference(_one_name_each(genome), frame, counts)


def _given_genomes(var: pd.DataFrame) -> np.ndarray:
    if COLUMN not in var or not _is_text(var[COLUMN]):
        return np.full(len(var), "", dtype=object)
    values = var[COLUMN].astype(object)
    texts = values.where(values.notna(), "").astype(str).str.strip()
    # "GRCh38_and_mm10" names the reference, no genome.
    known = ~texts.isin(["nan", "None", "<NA>"]) & ~texts.str.contains("_and_")
    return texts.where(known, "").to_numpy(dtype=object)


def _is_text(values: pd.Index | pd.Series) -> bool:
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    return pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype)


def _texts(values: pd.Index | pd.Series) -> pd.Series:
    """As texts, numbered, "" where missing."""
    own = np.asarray(values.astype(object))
    if pd.api.types.infer_dtype(own, skipna=False) == "string":  # as nearly always
        return pd.Series(own, dtype=object)
    return pd.Series(own).map(str, na_action="ignore").fillna("")


def _prefixes(texts: pd.Series, is_gene: np.ndarray, named: list[str]) -> dict[str, str]:
    """Prefix to genome, if most of the genes have one."""
    genes = texts[is_gene]
    found: dict[str, str] = {}
    for genome in sorted(named, key=len, reverse=True):
        if genes.str.match(f"^{re.escape(genome)}[_-]+.").any():
            found |= _longest(genome, genes[genes.str.startswith(genome)])
    rest = genes[~genes.str.startswith(tuple(found))] if found else genes
    first = pd.Series(list(map(_first_part, rest.tolist())), rest.index, dtype=object)
    for token, n in first.value_counts().items():
        if n < max(2, MINOR_GENOME * len(genes)):
            break
        own = rest[first == token]
        for prefix, genome in _by_common_start(own).items():
            if _is_genome(genome, own.str.slice(len(prefix))):
                found[prefix] = genome
    share = genes.str.startswith(tuple(found)).mean() if found else 0.0
    if share <= 0.5:
        return {}
    return found | _small_ones(genes, found)


@once_a_name
def _first_part(name: str) -> str | None:
    """What stands before the first "_" or "-"."""
    found = _PREFIX.match(name)
    return found[1] if found else None


def _longest(genome: str, genes: pd.Series) -> dict[str, str]:
    """The prefixes of a genome whose name is known: GRCh38_, mm10___."""
    marks = genes.str.extract(f"^{re.escape(genome)}([_-]+)", expand=False).dropna()
    return {genome + mark: genome for mark in marks.unique()}


def _by_common_start(genes: pd.Series) -> dict[str, str]:
    """What all these names begin with, up to a separator: prefix to genome."""
    first, last = genes.min(), genes.max()
    n_common = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    start = first[:n_common]
    cut = re.match(r"^(.*?[_-])((?:MT|HLA|H2)-)?$", start[: _last_separator(start)], re.IGNORECASE)
    return {} if cut is None else {cut.group(1): cut.group(1).rstrip("_-")}


def _last_separator(text: str) -> int:
    return max(text.rfind("_"), text.rfind("-")) + 1


def _is_genome(genome: str, rest: pd.Series) -> bool:
    """Whether a prefix is a genome's: by its name, or because genes' names are behind it."""
    if organism_of(genome) != genome or re.match(rf"(?:{_ASSEMBLY[None]})(?![a-z])", genome):
        return True
    if rest.str.match(_ENSEMBL).mean() > 0.5:
        return True
    capitals = rest.str.upper()
    return len(_COMMON & set(capitals)) + int(capitals.str.match(_FAMILY).sum()) >= 3


def _small_ones(genes: pd.Series, found: dict[str, str]) -> dict[str, str]:
    """Prefixes of a virus beside a genome: only if every name has a prefix."""
    rest = genes[~genes.str.startswith(tuple(found))]
    if not len(rest) or not rest.str.match(_PREFIX).all():
        return {}
    first = rest.str.extract(_PREFIX, expand=False)
    small: dict[str, str] = {}
    for token in first.unique():
        small |= _by_common_start(rest[first == token])
    return small


def _without(texts: np.ndarray, prefixes: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Names without their prefix, and the genome of each."""
    longest = sorted(prefixes, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest)))
    cleaned, removed = texts.copy(), np.full(len(texts), "", dtype=object)
    for place, text in enumerate(texts):
        match = pattern.match(text)
        if match and match.end() < len(text):
            cleaned[place], removed[place] = text[match.end() :], prefixes[match.group()]
    return cleaned, removed


def organism_of(genome: str) -> str:
    """The organism of an assembly of human or mouse; else the genome itself."""
    for organism, names in _ASSEMBLY.items():
        if organism and re.match(rf"(?:{names})(?![a-z])", genome, re.IGNORECASE):
            return organism
    return genome


def _one_name_each(genome: np.ndarray) -> np.ndarray:
    """hg19 and GRCh38 of joined files are one genome: that of most genes names it."""
    counts = pd.Series(genome, dtype=object).value_counts()
    names: dict[str, str] = {}
    for name in counts.index:
        names.setdefault(organism_of(name), name)
    same = {name: names[organism_of(name)] for name in counts.index}
    return np.array([same[name] for name in genome], dtype=object)


def choose_genome(
    reference: Reference, is_gene: np.ndarray, asked: str | None, where: str
) -> str | None:
    """The genome whose genes are kept; None if the reference is of one or none.

    Raises
    ------
    UserError
        If there are several and none is asked for, or the one asked for is not among them.
    """
    genomes = reference.n_genes(is_gene)
    found = ", ".join(f"{name} ({n} genes)" for name, n in genomes.items())
    if asked is not None:
        known = {name.lower(): name for name in genomes}
        known = {organism_of(name).lower(): name for name in genomes} | known
        if not genomes:
            return None
        if asked.strip().lower() not in known:
            raise UserError(
                f"{where}: --genome {asked}: the genes are of {found}; give one of these"
            )
        name = known[asked.strip().lower()]
        return name if len(genomes) > 1 else None
    major = reference.major(is_gene)
    if len(major) > 1:
        raise UserError(
            f"{where}: the genes are of several genomes: {found}; choose one, whose genes and "
            f"cells are kept: --genome {major[0]}"
        )
    return major[0] if len(genomes) > 1 else None
