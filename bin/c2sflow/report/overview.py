"""The report's first look: is the run good? Each figure of `findings` as a tile."""

from __future__ import annotations

from c2sflow.report.findings import GOOD, LOOK, PLAIN, POOR, Finding, findings
from c2sflow.report.plots import Section
from c2sflow.report.run import Run

SIGNS = {GOOD: "✓", LOOK: "!", POOR: "✗", PLAIN: ""}


def overview(run: Run) -> list[Section]:
    """The findings as tiles."""
    tiles = "".join(map(_tile, findings(run)))
    legend = (
        f"<strong>{SIGNS[GOOD]}</strong> beats what it would be without the model, or passes the "
        f"bound that is given; <strong>{SIGNS[POOR]}</strong> fails it: find the reason before you "
        "use the results; no mark: a number without a bound. Each tile links to its section."
    )
    return [Section("", legend, content=f'<div class="c2s-tiles">{tiles}</div>')]


def _tile(finding: Finding) -> str:
    state = finding.state or "plain"
    sign = SIGNS[finding.state]
    mark = f'<span class="c2s-sign" aria-label="{state}">{sign}</span>' if sign else ""
    return (
        f'<a class="c2s-tile c2s-{state}" href="#{finding.anchor}">{mark}'
        f'<span class="c2s-figure">{finding.figure}</span>'
        f'<span class="c2s-title">{finding.title}</span>'
        f'<span class="c2s-meaning">{finding.meaning}</span></a>'
    )
