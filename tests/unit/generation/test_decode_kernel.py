"""The Triton kernels, without a GPU: interpreted on the CPU, and compiled for cards not here."""

from pathlib import Path

import pytest

pytest.importorskip("triton")
CASES = Path(__file__).with_name("interpreted_kernel.py")
A100, RTX4090, H100 = 80, 89, 90


def test_the_kernels_interpreted(interpreted):
    assert "3 passed" in interpreted(CASES)


@pytest.mark.parametrize(
    ("card", "kind", "width"), [(A100, "bf16", 128), (RTX4090, "fp32", 256), (H100, "bf16", 256)]
)
def test_attention_compiles(card, kind, width, tmp_path, monkeypatch, compile_for):
    """Half precision takes the tensor cores; the smallest of these cards has 99 KiB a block."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from c2sflow.generation import decode_kernel

    pointers = dict.fromkeys(["query", "keys", "values"], f"*{kind}")
    pointers |= {"starts": "*i64", "newest": "*i64", "mixed": "*fp32", "logs": "*fp32"}
    numbers = {"scaling": "fp32", "softcap": "fp32", "window": "i32", "n_slots": "i32"}
    sizes = decode_kernel.sizes_of(width, 2, 4 if kind == "fp32" else 2)
    constants = {"CAPPED": True, "N_PARTS": 4, **sizes}
    made = compile_for(
        card, decode_kernel.attend_part, pointers, numbers, constants,
        num_warps=4, num_stages=decode_kernel.STAGES, enable_fp_fusion=True,
    )  # fmt: skip
    assert made.metadata.shared <= 99 * 1024
    code = made.asm["ptx"]
    assert "cp.async" in code  # a block is read while another is computed
    assert ("mma.sync" in code) == (kind != "fp32")


def test_joining_compiles(tmp_path, monkeypatch, compile_for):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from c2sflow.generation import decode_kernel

    compile_for(
        H100, decode_kernel.join_parts, {"mixed": "*fp32", "logs": "*fp32", "output": "*bf16"}, {},
        {"N_PARTS": 5, "PARTS_WIDE": 8, "WIDTH": 256, "WIDE": 256}, enable_fp_fusion=True,
    )  # fmt: skip
