"""Recognise LoRA files, so that they can be refused with a reason."""

import os
import re
from pathlib import Path

NAMES = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin", "adapter_model.safetensors",
         "adapter_config.json")  # fmt: skip
IS_ONE = ("holds a LoRA: small additions to the weights of a base model, not a model by itself; load the base instead "
          "(fromnoise cannot add a LoRA to it)")  # fmt: skip


def is_tensor(name: str) -> bool:
    """Whether a tensor of that name belongs to a LoRA."""
    return re.search(r"(^|[._])lora(_(A|B|up|down|embedding|magnitude|linear)\w*)?\.|^lora_", name) is not None


def is_one(path: Path) -> bool:
    """Whether it is a LoRA: a folder by the names of its files, or a safetensors file by the names of its tensors."""
    if any(os.path.lexists(path / name) for name in NAMES):
        return True
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as tensors:
            return any(is_tensor(name) for name in tensors.keys())  # noqa: SIM118  (it is no mapping)
    except Exception:  # not a safetensors file; opening it gives the error
        return False
