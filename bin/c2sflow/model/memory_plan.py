"""What a model takes of a device's memory, known before a weight of it is read.

The model is made on torch's meta device, which has shapes and no values; transformers' own rule
decides which of its matrices bitsandbytes quantises.
"""

from __future__ import annotations

import copy
from itertools import chain

import torch
from accelerate import infer_auto_device_map
from accelerate.utils import CustomDtype, get_balanced_memory
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

# Working memory of one layer on a GPU, per token and hidden or MLP value.
BYTES_PER_VALUE = 24
LEAST_TOKENS = 1024  # of a batch: what a run is given at least
LEAST_WORKING = 2**30  # of which a small model needs less: kernels and their workspaces
# bitsandbytes' nf4 as we ask for it: values of 4 bits in blocks of 64 with a scale, whose scales
# are in blocks of 256 (Dettmers et al., 2023), and two tables of values a matrix.
BLOCK, SCALES, TABLES = 64, 256, 4 * (16 + 256 + 1)
ALTERNATIVES = ("int8", "nf4")


class MemoryPlan:
    """Bytes of a model, its batches, and what generation keeps.

    Parameters
    ----------
    config
        Of the model.
    dtype
        In which it is loaded.
    head
        With the language-model head, as `c2sflow.model.loading.load_model` takes it.
    """

    def __init__(self, config: PreTrainedConfig, dtype: torch.dtype, head: bool):
        kind = AutoModelForCausalLM if head else AutoModel
        with torch.device("meta"):
            self.model: PreTrainedModel = kind.from_config(copy.deepcopy(config), dtype=dtype)
        self.dtype, self.head = dtype, head

    def weights(self, quantization: str = "none") -> int:
        """Bytes of all parameters and buffers, of quantised ones with their scales."""
        quantised = self.matrices() if quantization in ALTERNATIVES else {}
        total = 0
        for name, tensor in chain(self.model.named_parameters(), self.model.named_buffers()):
            if name not in quantised:
                total += tensor.nbytes
            elif quantization == "int8":  # and a float32 scale a row
                total += tensor.numel() + 4 * len(tensor)
            else:
                scales = -(-tensor.numel() // BLOCK)
                total += -(-tensor.numel() // 2) + scales + 4 * -(-scales // SCALES) + TABLES
        return total

    def working(self, n_tokens: int = LEAST_TOKENS) -> int:
        """Bytes that a batch needs beside the weights; by default the least that a run needs.

        With a head, so many tokens are also decoded together: their keys and values are kept.
        """
        config = self.model.config
        each = working_bytes(config) + (kept_bytes(config, self.dtype) if self.head else 0)
        return max(n_tokens * each, LEAST_WORKING)

    def split(self, quantization: str, room: list[int]) -> dict[str, int] | None:
        """Which part of the model goes on which of several GPUs, as evenly as whole layers allow.

        Parameters
        ----------
        room
            Bytes for weights on each GPU.

        Returns
        -------
        Name of a module to number of its GPU; None if the model does not fit, layers being whole.
        """
        quantised = self.matrices() if quantization in ALTERNATIVES else {}
        small = {"int8": torch.int8, "nf4": CustomDtype.INT4}.get(quantization)
        sizes = {
            "dtype": None,
            "special_dtypes": dict.fromkeys(quantised, small),
            "no_split_module_classes": sorted(self.model._no_split_modules or ()),
        }
        # The scales of quantised matrices are not counted there.
        share = 0.95 if quantised else 1.0
        most = {number: int(share * size) for number, size in enumerate(room)}
        even = get_balanced_memory(self.model, max_memory=dict(most), **sizes)
        for limits in (even, most):
            found = infer_auto_device_map(self.model, max_memory=dict(limits), **sizes)
            if set(found.values()) <= set(most):
                return found
        return None

    def matrices(self) -> dict[str, torch.Size]:
        """Name to shape of all linear weights but the head's: bitsandbytes quantises these."""
        kept = get_keys_to_not_convert(self.model)
        return {
            f"{name}.weight": module.weight.shape
            for name, module in self.model.named_modules()
            if (type(module) is torch.nn.Linear or isinstance(module, Conv1D))
            and should_convert_module(name, kept)
        }


def working_bytes(config: PreTrainedConfig) -> int:
    """What one token of a batch takes on a GPU while a layer works on it."""
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return BYTES_PER_VALUE * (config.hidden_size + inner)


def kept_bytes(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Keys and values of one token in all layers, which generation keeps."""
    n_heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    heads = getattr(config, "num_key_value_heads", None) or n_heads
    return 2 * heads * width * config.num_hidden_layers * dtype.itemsize
