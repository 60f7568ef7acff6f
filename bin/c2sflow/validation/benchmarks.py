"""What --benchmark and --export need, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from c2sflow.common.errors import Faults

NEED_MEASURED = ("--benchmark", "--export cz_benchmarks", "--export scperturbench")
NEED_COUNTS = ("--benchmark", "--export vcc2026")


def check_benchmarks(flat: Mapping, samples: Sequence[Mapping], faults: Faults) -> None:
    """Check that there are predictions from control cells, counts and measured cells.

    Parameters
    ----------
    flat
        Checked parameters.
    samples
        Entries of samples.json.
    """
    given = flat["export"] if isinstance(flat["export"], str) else ""
    asked = [f"--export {name.strip()}" for name in given.split(",") if name]
    if flat["benchmark"]:
        asked.insert(0, "--benchmark")
        if not flat["evaluate"]:
            faults.append("--benchmark: is part of the evaluation; leave out --evaluate false")
    if not asked:
        return
    if not (flat["perturbations"] or flat["perturbation_column"]):
        faults.append(
            f"{asked[0]}: nothing is predicted; name --perturbations or --perturbation_column"
        )
        return
    if not flat["perturbations"] and flat["control"] is None:
        faults.append(
            f"{asked[0]}: with --perturbation_column alone each cell is predicted under its own "
            "label, which no benchmark compares; name the control cells with --control"
        )
    measured = flat["measured_column"] or flat["perturbation_column"]
    for option in (option for option in asked if option in NEED_MEASURED and measured is None):
        faults.append(f"{option}: needs measured cells; name their column with --measured_column")
    for option in (option for option in asked if option in NEED_COUNTS):
        faults.extend(
            f"{option}: needs raw counts, but the values of sample {sample['sample']} are "
            f"{sample['input_state']}; give a file or --matrix with counts"
            for sample in samples
            if sample["input_state"] not in (None, "counts")
        )
