"""A CUDA graph's stand-in on the CPU: the same operations again, with the same memory and numbers.

What a graph records is fixed: addresses, shapes and every number that Python knew. So is a tape; a
replay runs no Python of ours.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}


def tensors_of(values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def address(tensor):
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Records what `run` does, and takes it back; called, it does the same."""

    def __init__(self, run):
        super().__init__()
        self.done = []
        self.made, self.before = set(), {}  # addresses made by `run`; what was at the others
        with self:
            run()
        for storage, content in self.before.values():
            storage.copy_(content)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in WAITS:
            raise RuntimeError(f"{function} waits for the device: no graph can hold it")
        given = tensors_of((args, kwargs))
        if function._schema.is_mutable:
            for tensor in given:
                if address(tensor) not in self.made | set(self.before):
                    storage = tensor.untyped_storage()
                    self.before[address(tensor)] = storage, storage.clone()
        result = function(*args, **kwargs)
        outputs = tensors_of(result)
        fresh = {address(tensor) for tensor in outputs} - {address(tensor) for tensor in given}
        self.made |= fresh
        if function._schema.is_mutable or fresh:  # else a view, which stays what it is
            self.done.append((function, args, kwargs, outputs))
        return result

    def __call__(self):
        for function, args, kwargs, outputs in self.done:
            again = tensors_of(function(*args, **kwargs))
            for old, new in zip(outputs, again, strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)
