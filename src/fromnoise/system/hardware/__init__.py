"""Where networks run: the device, its number formats, and its settings for speed."""

from fromnoise.system.hardware.compiling import Compile, compile_network
from fromnoise.system.hardware.devices import (
    Hardware,
    Precision,
    choose,
    cpu_has_bf16,
    exact_float32,
    peak_memory,
    set_float32,
    tune,
)

__all__ = [
    "Compile",
    "Hardware",
    "Precision",
    "choose",
    "compile_network",
    "cpu_has_bf16",
    "exact_float32",
    "peak_memory",
    "set_float32",
    "tune",
]
