"""A run's files to one page, made by MultiQC: report.html opens anywhere, without a network."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

import h5py
import multiqc
import pandas as pd
from anndata.io import read_elem
from multiqc.base_module import BaseMultiqcModule
from multiqc.types import Anchor

from c2sflow import report_sections
from c2sflow.errors import UserError
from c2sflow.provenance import write_beside
from c2sflow.report_map import read_map

LOGGER = logging.getLogger(__name__)

# Chapters in their order: title, and the function of report_sections that gives its sections.
CHAPTERS = {
    "Warnings": report_sections.warnings,
    "What was run": report_sections.provenance,
    "Samples": report_sections.samples,
    "Quality control": report_sections.quality,
    "Cell sentences": report_sections.sentences,
    "Embedding": report_sections.embedding,
    "Perturbations": report_sections.perturbations,
}
# Less of MultiQC's own banner, and tables and prompts that read well.
STYLE = """
#page_title, #mqc_welcome, .seqera-logo { display: none !important; }
.c2s-facts th { width: 1%; padding-right: 1.5rem; font-weight: 600; }
.c2s-facts td { font-variant-numeric: tabular-nums; }
.c2s-prompt { white-space: pre-wrap; padding: 0.75rem 1rem; border-radius: 0.5rem;
  background: rgba(128, 128, 128, 0.1); }
"""


def write_report(
    h5ad: Path,
    qc_dir: Path,
    sentences_dir: Path,
    stats_dir: Path,
    multiqc_config: Path,
    outdir: Path,
    perturbed: Path | None = None,
    perturbation_summary: Path | None = None,
    label_column: str | None = None,
) -> None:
    """Write report.html.

    Parameters
    ----------
    h5ad, perturbed, perturbation_summary
        Results of MERGE; the latter two if there are predictions.
    qc_dir, sentences_dir, stats_dir
        <id>.qc.json; <id>.sentences.json; <shard>.embed.json and <shard>.perturb.json.
    multiqc_config
        Configuration of MultiQC.
    outdir
        Gets the report.
    label_column
        Column of obs to colour the map of the cells by, besides the sample.

    Raises
    ------
    UserError
        If there is no such column, or a file is missing or broken.
    """
    columns = list(dict.fromkeys([*filter(None, [label_column]), "sample"]))
    with h5py.File(h5ad) as file:
        provenance, cells = read_elem(file["uns/c2s"]), read_map(file, columns)
    run = report_sections.Run(
        qc=_read_all(qc_dir, "*.qc.json"),
        sentences=_read_all(sentences_dir, "*.sentences.json"),
        embed=_read_all(stats_dir, "*.embed.json"),
        perturb=_read_all(stats_dir, "*.perturb.json"),
        provenance=provenance,
        cells=cells,
        said=_words_said(perturbed) if perturbed else None,
        summary=pd.read_csv(perturbation_summary, sep="\t") if perturbation_summary else None,
    )
    page = _render(run, multiqc_config)
    with write_beside(outdir / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")
    LOGGER.info("report.html: %d samples, %d cells", len(run.qc), cells.n_cells)


def _read_all(folder: Path, pattern: str) -> list[dict]:
    records = []
    for path in sorted(folder.glob(pattern)):
        try:
            records.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UserError(f"{path.name} is broken ({error}); run with -resume") from None
    return records


def _words_said(perturbed: Path) -> pd.DataFrame:
    """Sums of valid, repeated and invalid genes by perturbation and sample."""
    sums = {
        "valid": "c2s_n_predicted_genes",
        "repeated": "c2s_duplicate_genes",
        "invalid": "c2s_invalid_genes",
    }
    with h5py.File(perturbed) as file:
        obs = {
            name: read_elem(file["obs"][name])
            for name in ("perturbation", "sample", *sums.values())
        }
    groups = pd.DataFrame(obs).groupby(["perturbation", "sample"], observed=True)
    return groups[list(sums.values())].sum().set_axis(list(sums), axis=1)


def _render(run: report_sections.Run, config: Path) -> str:
    """The page, as text."""
    multiqc.reset()
    multiqc.load_config(config)
    for title, sections in CHAPTERS.items():
        chapter = BaseMultiqcModule(name=title, anchor=Anchor(title.lower().replace(" ", "-")))
        for section in sections(run):
            chapter.add_section(
                name=section.name,
                anchor=f"{chapter.anchor}-{section.name.lower().replace(' ', '-') or 'section'}",
                description=section.description,
                plot=section.plot,
                content=section.content,
                autoformat=False,
            )
        if chapter.sections:
            multiqc.report.modules.append(chapter)
    with tempfile.TemporaryDirectory() as folder:
        style = Path(folder) / "style.css"
        style.write_text(STYLE)
        page = multiqc.write_report(
            output_dir=folder,
            filename="report.html",
            custom_css_files=[str(style)],
            quiet=True,
            no_ansi=True,
            return_html=True,
        )
    if page is None:
        raise RuntimeError("MultiQC made no report; its messages above say why")
    return page
