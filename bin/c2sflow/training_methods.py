"""Models made ready for training: with an adapter, whole, or new."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.errors import UserError
from c2sflow.model_config import load_config
from c2sflow.model_files import read_config
from c2sflow.models import load_model, load_tokenizer
from c2sflow.optimizers import adamw, muon_and_adamw
from c2sflow.placement import resolve_device, resolve_dtype
from c2sflow.small_gemma import make_model
from c2sflow.training_attention import training_attention

# Parameters from which layers are computed again on the way back instead of being kept.
CHECKPOINTED = 100_000_000


@dataclass
class Trainee:
    """A model that is trained.

    Attributes
    ----------
    model
        Causal language model that holds the layers, those of an adapter among them.
    adapter
        peft's model around it, or None if its own weights are trained.
    precision
        dtype of the products; weights that are trained are float32.
    """

    method: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapter: PeftModel | None
    precision: torch.dtype

    @property
    def attention(self) -> str:
        """The implementation it runs."""
        return self.model.config._attn_implementation

    @property
    def context(self) -> int:
        """Most tokens of an example."""
        return self.model.config.max_position_embeddings

    def trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Names and parameters that are trained."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def optimizers(self, rate: float) -> list[torch.optim.Optimizer]:
        """What takes its steps: AdamW, and for a new model Muon too."""
        if self.method == "scratch":
            return muon_and_adamw(self.model, self.model.get_decoder().layers, rate)
        decay = 0.01 if self.method == "full" else 0.0
        return [adamw((p for _, p in self.trained()), rate, decay)]

    def autocast(self) -> AbstractContextManager:
        """Products in its precision."""
        return torch.autocast(
            self.model.device.type, self.precision, enabled=self.precision != torch.float32
        )


def load_trainee(
    method: str,
    directory: str | Path | None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    device: str = "auto",
    dtype: str = "auto",
    lora_rank: int = 16,
    lora_alpha: float = 32,
    seed: int = 42,
) -> Trainee:
    """A model that can be trained, its attention and memory seen to.

    Parameters
    ----------
    method
        lora: low-rank matrices beside every linear layer of a frozen model (Hu et al., 2022);
        qlora: the same on weights of four bits (Dettmers et al., 2023); full: all weights;
        scratch: all weights of a new small model.
    directory
        Of the base model; None for scratch.
    tokenizer
        Of the new model.
    device, dtype
        See `c2sflow.models.load_model`.

    Raises
    ------
    UserError
        If the directory is not a usable model, or does not fit into memory.
    """
    where = resolve_device(device)
    if method == "scratch":
        model = make_model(tokenizer, seed).to(where)
        precision = resolve_dtype(dtype, where, model.config)
    else:
        read_config(directory)
        config = load_config(directory)
        precision = resolve_dtype(dtype, where, config)
        kept = torch.float32 if method == "full" else precision
        model = load_model(
            directory,
            head=True,
            device=device,
            dtype=str(kept).removeprefix("torch."),
            attention=training_attention(config, where, kept, precision),
            quantization="nf4" if method == "qlora" else "none",
        )
        if len(set(getattr(model, "hf_device_map", {"": 0}).values())) > 1:
            raise UserError(
                f"model {directory} does not fit into the memory of one GPU for training; use "
                "--finetune_method qlora, or a larger GPU"
            )
        tokenizer = load_tokenizer(directory)
        _keep_unpacked(model)
    adapter = None
    if method in ("lora", "qlora"):
        torch.manual_seed(seed)
        adapter = get_peft_model(model, _lora(lora_rank, lora_alpha))
        model = adapter.get_base_model()
    if model.num_parameters() >= CHECKPOINTED:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.config.use_cache = False
    return Trainee(method, model.train(), tokenizer, adapter, precision)


def _keep_unpacked(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking nf4 weights for a CPU, as it does at the first validation.

    The product with repacked weights (0.50) has no gradient: torch goes on with a wrong one.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _lora(rank: int, alpha: float) -> LoraConfig:
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def micro_tokens(value: int | str | None, trainee: Trainee, free: int) -> int:
    """Tokens that go through the model at once; "auto" (or None) from the free bytes.

    Half of the memory is for what a layer works on, forward and back, and for what every layer
    keeps of its input.
    """
    if value not in (None, "auto"):
        return int(value)
    config = trainee.model.config
    if trainee.model.device.type != "cuda":
        return 2048
    layer = 64 * (config.hidden_size + config.intermediate_size)
    kept = 4 * config.hidden_size * config.num_hidden_layers
    if not trainee.model.is_activation_checkpointing:
        kept = layer * config.num_hidden_layers // 2
    return int(min(max(0.5 * free // (layer + kept), 1024), 2**14))


def n_trained(trainee: Trainee) -> int:
    """Parameters that are trained."""
    return sum(math.prod(p.shape) for _, p in trainee.trained())
