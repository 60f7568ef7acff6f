"""Options of a model that do not go together. No torch here: VALIDATE asks, too."""

from __future__ import annotations

from collections.abc import Mapping


def model_option_faults(options: Mapping) -> list[str]:
    """What is wrong with the options, a line each.

    Parameters
    ----------
    options
        quantization, dtype and device as far as given.
    """
    faults = []
    if options.get("quantization") == "fp8":
        if options.get("device") == "cpu":
            faults.append(
                "--quantization fp8 is for GPUs that have 8-bit floats, not for --device cpu; use "
                "--quantization none"
            )
        if options.get("dtype", "auto") not in ("auto", "bfloat16"):
            faults.append(
                f"--quantization fp8 goes with --dtype bfloat16, not with {options['dtype']}"
            )
    return faults
