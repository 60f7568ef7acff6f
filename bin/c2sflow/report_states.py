"""What the report says of the state of the values: what was found, and why."""

from __future__ import annotations

from c2sflow.matrices import in_words
from c2sflow.report_inputs import Run
from c2sflow.report_plots import Section, safe, table_plot
from c2sflow.states import LOG_NAMES


def values_read(run: Run) -> list[Section]:
    """State of each sample's values and the evidence for it."""
    rows = {}
    for record in run.qc:
        state, base = record["input_state"], record.get("log_base")
        held = in_words(state) + (f" ({LOG_NAMES[base]})" if base in LOG_NAMES else "")
        rows[record["sample"]] = {
            "held": held,
            "why": safe(record.get("state_evidence", "not recorded")),
        }
    headers = {
        "held": {"title": "Values", "description": "What the matrix holds", "scale": False},
        "why": {"title": "Evidence", "description": "In all cells of the input", "scale": False},
    }
    text = (
        "What the values were taken for, and why. If that is wrong, every sentence is: declare the "
        "state with <code>--input_state</code>, or name another matrix with <code>--matrix</code>."
    )
    name = "Values read"
    return [Section(name, text, plot=table_plot("values", name, "Sample", rows, headers))]
