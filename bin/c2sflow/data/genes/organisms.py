"""The organism of the cells: from annotation, genome, identifiers and symbols, else asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from c2sflow.common.errors import UserError
from c2sflow.data.backed import CellData
from c2sflow.data.genes.known_symbols import KNOWN_SYMBOLS
from c2sflow.data.genes.names import once_a_name

# https://www.ensembl.org/info/genome/stable_ids/prefixes.html: those of ENS<prefix>G00000000001.
ENSEMBL_PREFIXES = {
    "": "human",
    "MUS": "mouse",
    "RNO": "rat",
    "MMU": "macaque",
    "MFA": "crab-eating macaque",
    "MNE": "pig-tailed macaque",
    "PTR": "chimpanzee",
    "PPA": "bonobo",
    "GGO": "gorilla",
    "PPY": "orangutan",
    "NLE": "gibbon",
    "CJA": "marmoset",
    "CSA": "vervet",
    "PAN": "baboon",
    "MIC": "mouse lemur",
    "SSC": "pig",
    "BTA": "cow",
    "OAR": "sheep",
    "CHI": "goat",
    "ECA": "horse",
    "CAF": "dog",
    "FCA": "cat",
    "OCU": "rabbit",
    "CPO": "guinea pig",
    "MAU": "golden hamster",
    "CGR": "Chinese hamster",
    "MPU": "ferret",
    "MOD": "opossum",
    "OAN": "platypus",
    "GAL": "chicken",
    "TGU": "zebra finch",
    "ACA": "anole lizard",
    "XET": "Xenopus tropicalis",
    "DAR": "zebrafish",
    "ORL": "medaka",
    "GAC": "stickleback",
    "TRU": "fugu",
    "CIN": "Ciona intestinalis",
}
ENSEMBL_ID = re.compile(r"^ENS([A-Z]*?)[GTPE]\d{9,}")
# Of model organisms with identifiers of their own.
OTHER_IDS = {
    "fly": re.compile(r"^FBgn\d{7}"),
    "worm": re.compile(r"^WBGene\d{8}"),
    "Arabidopsis thaliana": re.compile(r"^AT[1-5CM]G\d{5}"),
    "mouse": re.compile(r"^MGI:\d+"),
    "human": re.compile(r"^HGNC:\d+"),
    "rat": re.compile(r"^RGD:\d+"),
}
# Names of assemblies, of Ensembl, NCBI and UCSC, at the beginning of what var["genome"] holds.
GENOMES = {
    "human": r"GRCh\d|hg1[6-9]|hg38|T2T|CHM13|hs1\b|human|homo_sapiens",
    "mouse": r"GRCm\d|mm(?:9|10|39)|mouse|mus_musculus",
    "rat": r"mRatBN|Rnor|RGSC|GRCr\d|rn[4-8]|rat(?:$|[_\W])|rattus_norvegicus",
    "macaque": r"Mmul|rheMac|macaca_mulatta",
    "crab-eating macaque": r"Macaca_fascicularis|macFas|MFA1912",
    "chimpanzee": r"Pan_tro|panTro|CHIMP",
    "marmoset": r"mCalJac|calJac|callithrix",
    "zebrafish": r"GRCz\d|danRer|Zv9|danio_rerio",
    "pig": r"Sscrofa|susScr|sus_scrofa",
    "cow": r"ARS-UCD|UMD_?3|bosTau|bos_taurus",
    "sheep": r"Oar_|ARS-UI_Ramb|oviAri|ovis_aries",
    "horse": r"EquCab|equus_caballus",
    "dog": r"CanFam|ROS_Cfam|Dog10K|canis",
    "rabbit": r"OryCun|oryctolagus",
    "chicken": r"GRCg\d|bGalGal|galGal|gallus_gallus",
    "fly": r"BDGP|dm[36]\b|drosophila",
    "worm": r"WBcel|ce1[01]\b|caenorhabditis",
    "Xenopus tropicalis": r"UCB_Xtro|xenTro|XENTR",
}
GENOME_NAMES = {name: re.compile(f"^(?:{form})", re.I) for name, form in GENOMES.items()}
# Symbols that no other species has, as they are written there.
ONLY = {
    "human": re.compile(
        r"^(?:HLA-[A-Z]|LINC\d{5}|C(?:\d{1,2}|X)orf\d|MIR\d+[A-Z]{0,3}HG$|RP\d+-\d+[A-Z]+\d*\.\d"
        r"|CT[ABCD]-\d|A[CLPFDJ]\d{6}\.\d|MT-[A-Z]|[A-Z0-9]{2,}-AS\d$)"
    ),
    "mouse": re.compile(r"^(?:Gm\d{3,}$|[A-Z0-9]{6,}Rik$|\d{7}[a-p]\d\drik$|H2-[A-Z]|mt-[A-Z])"),
    "rat": re.compile(r"^(?:RT1-|RGD\d{5,}|AABR\d|AY172581|Mt-[a-z])"),
    "macaque": re.compile(r"^(?:MAMU-|Mamu-)"),
    "pig": re.compile(r"^SLA-(?:\d|D)"),
    "dog": re.compile(r"^DLA-"),
    "cow": re.compile(r"^BOLA-"),
    "zebrafish": re.compile(r"^(?:si:[a-z]|zgc:\d|mt-[a-z]+\d)"),
}
# As someone writes them who makes all symbols upper-case.
RAISED_MOUSE = re.compile(r"^(?:GM\d{4,}$|\d{7}[A-P]\d\dRIK$|H2-K1$)")

COLUMN = "c2s_organism"  # of obs: what the prompts call the cells; a run on a result keeps it
GENE_COLUMNS = ("feature_reference", "organism", "species")  # of var
COLUMNS = (COLUMN, "organism", "species", "organism_ontology_term_id")
# The names of the published models' prompts, and what files call these organisms.
ORGANISMS = {
    "human": ("homo sapiens", "h. sapiens", "ncbitaxon:9606", "9606", "hsapiens"),
    "mouse": ("mus musculus", "m. musculus", "ncbitaxon:10090", "10090", "mmusculus", "mice"),
}
NOTHING = frozenset({"", "nan", "na", "n/a", "none", "<na>", "null", "unknown", "other", "-", "?"})
CODE = re.compile(r"^-?\d{1,3}(?:\.0*)?$")  # a factor's code; taxa of NCBI have more digits
PER_CELL = "obs"
# A second species must have so large a share of the genes to be there at all.
SECOND_SHARE = 0.02
ASK = "give --organism human, --organism mouse or another"


def organism_name(name: object) -> str:
    """The prompt's name of an organism: "human" for Homo sapiens or NCBITaxon:9606, and so on."""
    text = str(name).strip()
    lower = text.lower().replace("_", " ")
    for known, synonyms in ORGANISMS.items():
        if lower == known or lower in synonyms:
            return known
    return text


def find_organism(organism: str, data: CellData, symbols: pd.Index, where: str) -> str:
    """Organism of the cells.

    The first of these that there is: `organism`, obs, uns, ``var["genome"]``, a column of var that
    names organisms, the identifiers' prefix, symbols that only one species has, and human symbols
    in upper case. What was passed over, what was decided by symbols alone, and genes of another
    organism than the given one are noted in ``data.notes``.

    Parameters
    ----------
    organism
        "auto", or a name, which is taken.
    data
        The cells.
    symbols
        As from `c2sflow.data.genes.symbols.gene_symbols`.
    where
        The sample's name and file, for messages.

    Returns
    -------
    "human", "mouse" or another name; "obs" if it differs from cell to cell, as obs has it.

    Raises
    ------
    UserError
        If neither annotation nor the genes decide.
    """
    given = organism_name(organism) if organism != "auto" else None
    if given := given or _from_obs(data, where) or _from_uns(data):
        _compare(given, data, where)
        return given
    return _from_reference(data.var, where) or _from_symbols(data, symbols, where)


def _from_reference(var: pd.DataFrame, where: str) -> str | None:
    return _from_genome(var, where) or _from_genes(var, where) or _from_identifiers(var, where)


def _compare(given: str, data: CellData, where: str) -> None:
    """Note that the genes are another organism's: orthologues, or a mistake."""
    try:
        expected = _from_reference(data.var, where)
    except UserError:  # of several, or not known: nothing speaks against what is given
        return
    there = set(cell_organisms(data.obs)) if given == PER_CELL else {given}
    if expected and expected not in there:
        data.notes.append(
            f"the organism is given as {' and '.join(sorted(there))}, but the genes are of "
            f"{expected} by their identifiers or genome: right for orthologues only"
        )


def _from_obs(data: CellData, where: str) -> str | None:
    obs, column = data.obs, organism_column(data.obs)
    for name in COLUMNS[: COLUMNS.index(column) if column else None]:
        if name in obs:
            data.notes.append(_passed_over(obs[name], name, where))
    if column is None:
        return None
    names = obs[column].unique()
    if not all(map(_is_something, names)):
        n = sum(not _is_something(name) for name in obs[column])
        raise UserError(
            f"{where}: obs[{column!r}] is empty for {n} cells; fill it in, or give --organism"
        )
    found = {organism_name(name) for name in names}
    return found.pop() if len(found) == 1 else PER_CELL


def _passed_over(values: pd.Series, name: str, where: str) -> str:
    """A line about a column that names no organism; codes of several are refused."""
    codes = [str(value) for value in values.unique() if CODE.match(str(value).strip())]
    if len(codes) > 1:
        raise UserError(
            f"{where}: obs[{name!r}] holds codes ({', '.join(sorted(codes)[:5])}), no names; write "
            "the names of the organisms there, or give --organism"
        )
    held = f"holds the code {codes[0]}" if codes else "names no organism"
    return f"obs[{name!r}] {held}: ignored"


def _is_something(value: object) -> bool:
    """Whether this can be the name of an organism."""
    text = str(value).strip()
    return text.lower() not in NOTHING and not CODE.match(text)


def organism_column(obs: pd.DataFrame) -> str | None:
    """Column of obs that names the organism, if it has one that names any."""
    return next(
        (name for name in COLUMNS if name in obs and any(map(_is_something, obs[name].unique()))),
        None,
    )


def cell_organisms(obs: pd.DataFrame) -> np.ndarray:
    """Organism of each cell, as obs has it."""
    names = obs[organism_column(obs)]
    known = {name: organism_name(name) for name in names.unique()}
    return names.astype(object).map(known).to_numpy(dtype=object)


def _from_uns(data: CellData) -> str | None:
    for name in COLUMNS:
        recorded = data.recorded(name)
        if isinstance(recorded, str) and _is_something(recorded):
            return organism_name(recorded)
    return None


def _from_genome(var: pd.DataFrame, where: str) -> str | None:
    """By the assembly that 10x files name."""
    if "genome" not in var:
        return None
    found: Counter[str] = Counter()
    for genome, n in var["genome"].astype(str).value_counts().items():
        known = (name for name, form in GENOME_NAMES.items() if form.match(genome.strip()))
        if organism := next(known, None):
            found[organism] += n
    return _only_one(found, len(var), "var['genome'] names", where)


def _from_genes(var: pd.DataFrame, where: str) -> str | None:
    """By a column of var that names the organism of each gene, as CELLxGENE has it."""
    for column in GENE_COLUMNS:
        if column in var:
            names = [organism_name(name) for name in var[column] if _is_something(name)]
            if len(names) > len(var) / 2:
                return _only_one(Counter(names), len(var), f"var[{column!r}] names", where)
    return None


def _from_identifiers(var: pd.DataFrame, where: str) -> str | None:
    """By the prefix of Ensembl's identifiers, or those of other bases."""
    for names in (var.index, *(var[name] for name in var if _is_text(var[name]))):
        found = Counter(
            filter(None, map(_species_of_id, map(str, np.asarray(names, dtype=object))))
        )
        if sum(found.values()) > len(var) / 2:
            unknown = [name for name in found if name.startswith("ENS")]
            if unknown and found[unknown[0]] == max(found.values()):
                example = next(n for n in names if str(n).startswith(unknown[0]))
                raise UserError(
                    f"{where}: the organism of the identifiers (such as {example}) is unknown "
                    f"here; give it with --organism"
                )
            return _only_one(found, len(var), "the identifiers are of", where)
    return None


def _is_text(column: pd.Series) -> bool:
    values = column.cat.categories if column.dtype == "category" else column
    return values.dtype.kind == "O" or pd.api.types.is_string_dtype(values)


@once_a_name
def _species_of_id(name: str) -> str | None:
    """Species of an identifier; "ENS" and the prefix for one of Ensembl that is in no table."""
    text = name.strip()
    if found := ENSEMBL_ID.match(text):
        return ENSEMBL_PREFIXES.get(found[1], f"ENS{found[1]}")
    return next((species for species, form in OTHER_IDS.items() if form.match(text)), None)


def _only_one(found: Counter, n_genes: int, what: str, where: str) -> str | None:
    """The species found; two are refused."""
    there = [name for name, n in found.most_common() if n > SECOND_SHARE * n_genes]
    if len(there) > 1:
        raise UserError(f"{where}: {what} {' and '.join(there)}; {ASK}, or fill obs['organism']")
    return there[0] if there else None


def _from_symbols(data: CellData, symbols: Iterable[str], where: str) -> str:
    """By symbols that one species alone has; in upper case, if known, they are human."""
    names = [str(name) for name in symbols]
    marks = {
        species: [name for name in names if form.match(name)] for species, form in ONLY.items()
    }
    marks = {species: found for species, found in marks.items() if found}
    if "human" in marks and (raised := [name for name in names if RAISED_MOUSE.match(name)]):
        marks["mouse"] = raised
    if len(marks) > 1:
        fits = " and ".join(f"{species} ({found[0]})" for species, found in marks.items())
        raise UserError(f"{where}: gene names fit {fits}; {ASK}")
    if marks:
        return next(iter(marks))
    return _from_case(data, names, where)


def _from_case(data: CellData, names: list[str], where: str) -> str:
    letters = [name for name in names if sum(map(str.isalpha, name)) > 1]
    upper = [name for name in letters if name.isupper()]
    known = sum(name in KNOWN_SYMBOLS for name in upper)
    if letters and len(upper) > 0.8 * len(letters) and known > 0.5 * len(letters):
        data.notes.append(
            f"taken as human by {known} of {len(names)} gene symbols in upper case alone; if they "
            "are of another organism, give --organism"
        )
        return "human"
    title = sum(name[0].isupper() and name[1:].islower() for name in letters)
    if letters and title > 0.6 * len(letters):
        raise UserError(
            f"{where}: gene names (such as {letters[0]}) fit mouse and rat alike; "
            "give --organism mouse or --organism rat"
        )
    raise UserError(f"{where}: neither obs['organism'] nor the gene names show the organism; {ASK}")
