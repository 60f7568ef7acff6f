"""What the run's log ends with: what is good and poor about the results, and all warnings again."""

from __future__ import annotations

from c2sflow.report.findings import GOOD, POOR, findings
from c2sflow.report.run import Run


def verdict(run: Run) -> dict[str, list[str]]:
    """Lines for the log, as text: ``poor`` and ``good`` findings, and ``warnings``."""
    lines = [(finding.state, finding.line) for finding in findings(run)]
    return {
        POOR: [line for state, line in lines if state == POOR],
        GOOD: [line for state, line in lines if state == GOOD],
        "warnings": [
            f"{sample}: {f'{number:,} ' if number else ''}{text}"
            for sample, number, text in run.counted_warnings
        ],
    }
