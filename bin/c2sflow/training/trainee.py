"""The model in training: whole or adapter, its attention, its memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from c2sflow.common.errors import UserError
from c2sflow.model.architectures.registry import family_of
from c2sflow.model.attention import TAKE_PACKED
from c2sflow.model.batching import PromptPool
from c2sflow.model.config import load_config
from c2sflow.model.files import read_config
from c2sflow.model.loading import load_model, load_tokenizer
from c2sflow.model.placement import resolve_device, resolve_dtype
from c2sflow.training.memory import check_training_memory
from c2sflow.training.optimizers import adamw, muon_and_adamw

LOGGER = logging.getLogger(__name__)
# Parameters from which layers are computed again on the way back instead of being kept.
CHECKPOINTED = 100_000_000
REPACKED = "support_avx512bf16_for_cpu"  # of a bitsandbytes layer: nf4 in another order


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
            layers = family_of(self.model.config.model_type).layers(self.model.get_decoder())
            return muon_and_adamw(self.model, layers, rate)
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
    scratch_family: str = "",
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
    tokenizer, scratch_family
        Of the new model; one of `c2sflow.model.architectures.from_scratch.FROM_SCRATCH`.
    device, dtype
        See `c2sflow.model.loading.load_model`.

    Raises
    ------
    UserError
        If the directory is not a usable model, or does not fit into memory.
    """
    where = resolve_device(device)
    if method == "scratch":
        if tokenizer is None:
            raise ValueError("a new model needs a tokenizer")
        model = family_of(scratch_family).small_model(tokenizer, seed)
        model.to(where)  # type: ignore[arg-type]  # transformers wraps it without its self
        precision = resolve_dtype(dtype, where, model.config)
    else:
        if directory is None:
            raise ValueError(f"method {method} needs a model to begin with")
        read_config(directory)
        config = load_config(directory)
        precision = resolve_dtype(dtype, where, config)
        try:
            check_training_memory(config, method, where, precision, lora_rank)
        except UserError as error:
            raise UserError(f"model {directory}: {error}") from None
        kept = torch.float32 if method == "full" else precision
        model = load_model(
            directory,
            head=True,
            device=device,
            dtype=str(kept).removeprefix("torch."),
            attention=training_attention(config, where, kept, precision),
            quantization="nf4" if method == "qlora" else "none",
        )
        tokenizer = load_tokenizer(directory)
        _keep_unpacked(model)
    adapter = None
    if method in ("lora", "qlora"):
        torch.manual_seed(seed)
        adapter = get_peft_model(model, _lora(lora_rank, lora_alpha))
        model = cast("PreTrainedModel", adapter.get_base_model())
    if model.num_parameters() >= CHECKPOINTED:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.config.use_cache = False
    return Trainee(method, model.train(), tokenizer, adapter, precision)


def _keep_unpacked(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking nf4 weights for a CPU, as it does at the first validation.

    The product with repacked weights (0.50) has no gradient: torch continues with a wrong one.
    """
    for module in model.modules():
        if hasattr(module, REPACKED):
            setattr(module, REPACKED, False)


def _lora(rank: int, alpha: float) -> LoraConfig:
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft divides it by r, a fraction or not
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


# Largest relative difference to eager's gradients in float32. Rounding to float16 makes 0.04 to
# 0.06, a dropped window 0.49, a dropped soft-cap 1.3 and more.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.2}


def training_attention(
    config: PreTrainedConfig, device: torch.device, kept: torch.dtype, precision: torch.dtype
) -> str:
    """Attention to load a model with for training: never one that drops a soft-cap or a window.

    On a GPU flex_attention, which takes packed rows, if its gradients are those of eager there;
    otherwise eager. (The blockwise attention of the other steps works in place and has none.)

    Parameters
    ----------
    kept, precision
        dtype of the weights, and of the products.
    """
    family = family_of(config.model_type)
    if not family.attentions:
        return "auto"
    if device.type != "cuda" or "flex_attention" not in family.attentions:
        return "eager"
    # Tried in float16, whose rounding is distinct from a fault: bfloat16's is 0.25 to
    # 0.44.
    tried = {torch.bfloat16: torch.float16}
    kept, precision = tried.get(kept, kept), tried.get(precision, precision)
    try:
        difference = gradient_disagreement("flex_attention", config, device, kept, precision)
        reason = f"its gradients differ from eager's by {100 * difference:.0f} %"
    except Exception as error:  # whatever a kernel, a compiler or transformers can raise
        difference = np.inf
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if difference <= TOLERANCE[precision]:
        return "flex_attention"
    LOGGER.warning("attention flex_attention is not used to train: %s", reason)
    return "eager"


def gradient_disagreement(
    name: str,
    config: PreTrainedConfig,
    device: torch.device,
    kept: torch.dtype,
    precision: torch.dtype,
) -> float:
    """Norm of the difference to eager's gradients in float32, relative to the norm of those.

    Of three prompts, longer and shorter than the window, in the layout that `name` is used with.
    """
    random = np.random.default_rng(0)
    prompts = [random.integers(3, 64, n).astype(np.int32) for n in (150, 70, 33)]
    family = family_of(config.model_type)
    model = family.probe(config)
    for ids in prompts:
        _backward(model, {"input_ids": torch.from_numpy(ids[None].astype(np.int64))}, [ids], [0])
    expected = _gradient(family.layers(model))
    model = family.probe(config).train()
    model.to(device, kept)
    model.set_attn_implementation(name)
    pool = PromptPool(max_tokens=600, packed=name in TAKE_PACKED, multiple=128)
    for row, ids in enumerate(prompts):
        pool.add(row, ids)
    batch = pool.take()
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        _backward(model, batch.inputs_on(device), batch.prompts, batch.starts)
    computed = _gradient(family.layers(model))
    difference = float((computed - expected).norm() / expected.norm())
    return difference if np.isfinite(difference) else np.inf


def _backward(
    model: PreTrainedModel,
    inputs: Mapping[str, object],
    prompts: Iterable[np.ndarray],
    starts: Iterable[int],
) -> None:
    """Gradients of a fixed linear function of the hidden states of the prompts' tokens."""
    hidden = model(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)
    direction = torch.linspace(-1, 1, hidden.shape[1], device=hidden.device)
    rows = [hidden[start : start + ids.size] for ids, start in zip(prompts, starts, strict=True)]
    (torch.cat(rows).float() @ direction).sum().backward()


def _gradient(layers: torch.nn.ModuleList) -> torch.Tensor:
    """Of the layers' weights, which is where attention shows."""
    found = (p.grad for p in layers.parameters())
    return torch.cat([one.float().cpu().flatten() for one in found if one is not None])
