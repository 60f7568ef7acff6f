"""Small models of every family with random weights, and tokenizers as the published ones have."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

SHAPE = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 512, "initializer_range": 0.2,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2, "head_dim": 16}
# By model type: the configuration's class, and what it has beside the shape.
KINDS = {
    "gpt_neox": ("GPTNeoXConfig", {}),
    "llama": ("LlamaConfig", GROUPED),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3Config", GROUPED),
    "gemma3_text": (
        "Gemma3TextConfig",
        GROUPED | {
            "sliding_window": 48, "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
}  # fmt: skip


def write_tokenizer(directory: Path, words: list[str]) -> None:
    """A byte-level tokenizer without a padding token, learnt from words and the prompts."""
    from real_tokenizers import write_byte_level_tokenizer

    from c2sflow.sentences.prompts import ANNOTATION_PROMPT, EMBEDDING_PROMPT, PERTURBATION_PROMPT

    texts = [ANNOTATION_PROMPT, EMBEDDING_PROMPT, PERTURBATION_PROMPT, " ".join(words)]
    write_byte_level_tokenizer(texts, directory, 600)


def write_model(kind: str, directory: Path, **saving: object) -> None:
    """A model for the tokenizer of the directory, as `save_pretrained` writes it."""
    import torch
    import transformers

    name, own = KINDS[kind]
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    config = getattr(transformers, name)(
        vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=None, **SHAPE, **own
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory, **saving)


def write_gemma2(directory: Path, **saving: object) -> None:
    """A random Gemma-2 in bfloat16, of three layers, with Gemma-2's own tokenizer.

    Raises
    ------
    LookupError
        If the tokenizer cannot be had.
    """
    import torch
    import transformers
    from real_tokenizers import gemma2_tokenizer

    files = gemma2_tokenizer()
    config = transformers.Gemma2Config(
        vocab_size=256_000, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8,
        sliding_window=48, max_position_embeddings=512, initializer_range=0.3, dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Gemma2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory, **saving)
    for path in files.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
