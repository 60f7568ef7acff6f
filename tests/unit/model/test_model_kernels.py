"""The Triton kernels of embedding, without a GPU: interpreted, and compiled for cards not here."""

from pathlib import Path

import pytest

pytest.importorskip("triton")
CASES = Path(__file__).with_name("interpreted_kernels.py")
A100, RTX4090, H100 = (80, 163), (89, 99), (90, 227)  # compute capability, KiB of a block


def test_the_kernels_interpreted(interpreted):
    assert "5 passed" in interpreted(CASES)


@pytest.mark.parametrize("card", [A100, RTX4090, H100])
@pytest.mark.parametrize(("kind", "width"), [("bf16", 128), ("bf16", 256), ("fp32", 256)])
def test_attention_compiles_and_fits(card, kind, width, tmp_path, monkeypatch, compile_for):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from c2sflow.model import packed_kernel

    capability, memory = card
    value_bytes = 4 if kind == "fp32" else 2
    rows, n_keys, warps, stages = packed_kernel.sizes_for(width, value_bytes, memory * 1024)
    pointers = dict.fromkeys(["query", "keys", "values", "output"], f"*{kind}")
    strides = [f"{of}_{by}" for of in ("query", "key", "value") for by in ("head", "token")]
    numbers = dict.fromkeys([*strides, "window", "length"], "i32")
    numbers |= dict.fromkeys(["steepness", "height"], "fp32")
    constants = {"CAPPED": True, "WIDTH": width, "WIDE": width, "HEADS": 2, "HEADS_WIDE": 2,
                 "QUERIES": rows // 2, "KEYS": n_keys}  # fmt: skip
    made = compile_for(
        capability, packed_kernel.attend_block, pointers | {"begins": "*i32"}, numbers, constants,
        aligned=strides, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    assert made.metadata.shared <= memory * 1024
    code = made.asm["ptx"]
    tensor_cores = "wgmma" if card == H100 else "mma.sync"
    assert (tensor_cores in code) == (kind != "fp32")


def test_the_small_kernels_compile(tmp_path, monkeypatch, compile_for):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from c2sflow.model import fused_kernels

    compile_for(
        H100[0], fused_kernels.normalize_row,
        dict.fromkeys(["states", "weight", "output"], "*bf16"),
        {"eps": "fp32", "offset": "fp32"}, {"WIDTH": 2304, "WIDE": 4096}, num_warps=8,
    )  # fmt: skip
    compile_for(
        H100[0], fused_kernels.gate_part, dict.fromkeys(["gates", "states", "output"], "*bf16"),
        {"size": "i32"}, {"PART": fused_kernels.GATED}, num_warps=8,
    )  # fmt: skip
    made = compile_for(
        H100[0], fused_kernels.quantize_row,
        {"values": "*bf16", "output": "*fp8e4nv", "scales": "*fp32"},
        {"largest": "fp32", "smallest": "fp32"}, {"WIDTH": 36864, "WIDE": 65536}, num_warps=8,
    )  # fmt: skip
    assert "e4m3" in made.asm["ptx"]
    names = ["query", "keys", "new_query", "new_keys", "cosines", "sines"]
    compile_for(
        H100[0], fused_kernels.rotate_token, dict.fromkeys(names, "*bf16"),
        {"query_token": "i32", "key_token": "i32"},
        {"QUERIES": 8, "QUERIES_WIDE": 8, "KEYS": 4, "KEYS_WIDE": 4, "HALF": 128, "HALF_WIDE": 128},
    )  # fmt: skip
