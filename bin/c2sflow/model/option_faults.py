"""Options of a model that do not go together. No torch here: VALIDATE asks, too."""

from __future__ import annotations

from collections.abc import Mapping

COMPILED_ATTENTIONS = ("auto", "flex_attention")


def model_option_faults(options: Mapping) -> list[str]:
    """What is wrong with the options, a line each.

    Parameters
    ----------
    options
        compile, attention, quantization, dtype and device as far as given.
    """
    faults = []
    attention = options.get("attention", "auto")
    if options.get("compile") == "on" and attention not in COMPILED_ATTENTIONS:
        faults.append(
            f"--compile on: layers are compiled with flex_attention, not with --attention "
            f"{attention}; use --attention auto, or --compile auto"
        )
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
