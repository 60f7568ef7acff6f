"""What a file says of its organism, in obs, uns and var: one, several, codes, gaps, and wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st

HUMAN = ["human", "Homo sapiens", "homo_sapiens", "NCBITaxon:9606", " Human "]
MOUSE = ["mouse", "Mus musculus", "NCBITaxon:10090"]
KINDS = ["human", "mouse", "several", "gaps", "codes", "one code", "nothing", "other"]
COLUMNS = ["organism", "species", "organism_ontology_term_id", "c2s_organism"]


@dataclass
class Organisms:
    """What the organism is.

    Attributes
    ----------
    of_cells
        Of each cell; None where the genes are to decide.
    params
        ``organism``, where it is given.
    refused
        Why VALIDATE has to refuse, if it has to.
    """

    of_cells: list[str] | None = None
    params: dict = field(default_factory=dict)
    refused: str = ""


def known(name: str) -> str:
    """As prompts call it."""
    text = name.strip()
    if text in [own.strip() for own in HUMAN]:
        return "human"
    return "mouse" if text in MOUSE else text


@st.composite
def organisms(draw, data: ad.AnnData, species: str) -> Organisms:
    """Annotate a file; `species` is what its identifiers are of, "" for symbols."""
    n = data.n_obs
    found = Organisms()
    if draw(st.integers(0, 4)) == 0:
        data.uns["organism"] = "Homo sapiens"
        found.of_cells = ["human"] * n
    if draw(st.integers(0, 2)) == 0:
        kind, column = draw(st.sampled_from(KINDS)), draw(st.sampled_from(COLUMNS))
        values = draw(_values(kind, n))
        make = {"object": np.array, "category": pd.Categorical, "string": pd.array}
        how = draw(st.sampled_from(sorted(make)))
        data.obs[column] = (
            pd.array(values, "string") if how == "string" else make[how](np.array(values, object))
        )
        if kind in ("gaps", "codes") and len(set(values)) > 1:
            found.refused = f"organism of cells: {kind}"
        elif kind in ("human", "mouse", "several", "gaps", "other"):
            found.of_cells = [known(value) for value in values]
    if draw(st.integers(0, 5)) == 0:
        of_genes = draw(st.sampled_from(["human", "mouse"]))
        column = draw(st.sampled_from(["genome", "feature_reference", "species"]))
        genome = {"human": "GRCh38", "mouse": "mm10"}[of_genes]
        name = {"human": "NCBITaxon:9606", "mouse": "Mus musculus"}[of_genes]
        data.var[column] = pd.Categorical([genome if column == "genome" else name] * data.n_vars)
        # raw.X has an annotation of its own, without this.
        species = of_genes if data.raw is None else ""
    if found.of_cells is None and not found.refused:
        found.of_cells = [species] * n if species else None
    if draw(st.integers(0, 2)):
        given = draw(st.sampled_from(["human", "Mus musculus", "axolotl"]))
        found = Organisms([known(given)] * n, {"organism": given})
    return found


@st.composite
def _values(draw, kind: str, n: int) -> list[str]:
    if kind == "several":
        return [draw(st.sampled_from([*HUMAN[:2], *MOUSE[:2]])) for _ in range(n)]
    if kind == "gaps":
        return [draw(st.sampled_from(["human", "", "unknown"])) for _ in range(n - 1)] + ["human"]
    if kind == "codes":
        return [draw(st.sampled_from(["0", "1"])) for _ in range(n)]
    only = {"one code": ["1"], "nothing": ["unknown", "nan", ""], "other": ["axolotl", "pig"],
            "human": HUMAN, "mouse": MOUSE}  # fmt: skip
    return [draw(st.sampled_from(only[kind]))] * n
