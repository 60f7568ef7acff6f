"""A run's files to one page, made by MultiQC: report.html opens anywhere, without a network."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import multiqc
from multiqc.base_module import BaseMultiqcModule
from multiqc.core.update_config import ClConfig, update_config
from multiqc.types import Anchor

from c2sflow.common.files import write_beside, write_json
from c2sflow.report import annotation as report_annotation
from c2sflow.report import effects as report_effects
from c2sflow.report import evaluation as report_evaluation
from c2sflow.report import gene_changes as report_changes
from c2sflow.report import groups as report_groups
from c2sflow.report import model_results as report_generation
from c2sflow.report import model_results as report_results
from c2sflow.report import overview as report_overview
from c2sflow.report import samples as report_sections
from c2sflow.report import training as report_finetuning
from c2sflow.report.files import with_links
from c2sflow.report.run import Run, read_run
from c2sflow.report.verdict import verdict

LOGGER = logging.getLogger(__name__)

# Chapters in their order: title, and the function that gives its sections.
CHAPTERS = {
    "At a glance": report_overview.overview,
    "Warnings": report_sections.warnings,
    "What was run": report_sections.provenance,
    "Samples": report_sections.samples,
    "Quality control": report_sections.quality,
    "Cell sentences": report_sections.sentences,
    "Fine-tuning": report_finetuning.finetuning,
    "Embedding": report_results.embedding,
    "Cell types": report_annotation.annotation,
    "Groups of cells": report_groups.groups,
    "Attention": report_results.attention,
    "Perturbations": report_changes.perturbations,
    "Effects of the perturbations": report_effects.effects,
    "Screen": report_effects.screen,
    "Generated cells": report_generation.generation,
    "Evaluation": report_evaluation.evaluation,
}
# Less of MultiQC's own banner, and tables and prompts that read well.
STYLE = """
#page_title, #mqc_welcome, .seqera-logo { display: none !important; }
.c2s-facts th { width: 1%; padding-right: 1.5rem; font-weight: 600; }
.c2s-facts td { font-variant-numeric: tabular-nums; }
.c2s-prompt { white-space: pre-wrap; padding: 0.75rem 1rem; border-radius: 0.5rem;
  background: rgba(128, 128, 128, 0.1); }
.c2s-map select { max-width: 100%; margin: 0 0 0.5rem 0.4rem; padding: 0.2rem 0.4rem; }
.c2s-details summary { cursor: pointer; font-weight: 600; padding: 0.35rem 0; }
.c2s-tiles { display: grid; gap: 0.75rem;
  grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
a.c2s-tile { display: grid; grid-template-columns: auto 1fr; column-gap: 0.6rem;
  align-items: baseline; align-content: start; padding: 0.8rem 1rem; border-radius: 0.5rem;
  border-left: 0.35rem solid #8a8f98; color: inherit;
  text-decoration: none; background: rgba(128, 128, 128, 0.1); }
a.c2s-tile:hover { background: rgba(128, 128, 128, 0.2); }
.c2s-good { border-left-color: #2e9e4f !important; } .c2s-good .c2s-sign { color: #2e9e4f; }
.c2s-look { border-left-color: #d98e04 !important; } .c2s-look .c2s-sign { color: #d98e04; }
.c2s-poor { border-left-color: #d43f3f !important; } .c2s-poor .c2s-sign { color: #d43f3f; }
.c2s-sign { font-weight: 700; font-size: 1.4rem; grid-row: span 3; align-self: start; }
a.c2s-plain { grid-template-columns: 1fr; }
.c2s-plain > span { grid-column: 1 !important; }
.c2s-figure { font-size: 1.6rem; font-weight: 600; line-height: 1.2; }
.c2s-title { grid-column: 2; font-weight: 600; }
.c2s-meaning { grid-column: 2; font-size: 0.9rem; opacity: 0.85; }
"""


def write_report(multiqc_config: Path, outdir: Path, **inputs: Any) -> None:
    """Write report.html, and verdict.json for the end of the run's log.

    Parameters
    ----------
    multiqc_config
        Configuration of MultiQC.
    outdir
        Gets both.
    inputs
        Those of `c2sflow.report.run.read_run`.

    Raises
    ------
    UserError
        If there is no such column, or a file is missing or broken.
    """
    run = read_run(**inputs)
    page = _render(run, multiqc_config)
    with write_beside(outdir / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")
    write_json(outdir / "verdict.json", verdict(run))
    LOGGER.info("report.html: %d samples, %d cells", len(run.qc), run.cells.n_cells)


@contextmanager
def _own_logging() -> Iterator[None]:
    """Keep our log: MultiQC takes the root logger for its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@_own_logging()
def _render(run: Run, config: Path) -> str:
    """The page, as text."""
    multiqc.reset()
    update_config(cfg=ClConfig(config_files=[config], quiet=True, no_ansi=True))
    for title, sections in CHAPTERS.items():
        chapter = BaseMultiqcModule(name=title, anchor=Anchor(title.lower().replace(" ", "-")))
        for section in sections(run):
            text = section.description
            chapter.add_section(
                name=section.name,
                anchor=f"{chapter.anchor}-{section.name.lower().replace(' ', '-') or 'section'}",
                description=f"<p>{with_links(text, run)}</p>" if text else "",
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
            config_files=[config],
            custom_css_files=[str(style)],
            quiet=True,
            no_ansi=True,
            return_html=True,
        )
    if page is None:
        raise RuntimeError("MultiQC made no report; see its messages above")
    return page
