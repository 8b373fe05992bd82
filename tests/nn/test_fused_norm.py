"""The norm's Triton kernel: by Triton's interpreter on any machine, and compiled where there is a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fromnoise.nn.norm import GroupNormSiLU

SHAPES = [  # (N, C, H, W), groups, silu, type, programs that are wanted
    ((1, 24, 4, 4), 4, True, torch.float32, 256),  # six channels a group: not a power of two
    ((2, 12, 3, 5), 3, False, torch.float32, 1),  # three groups in a program for four
    ((2, 12, 4, 4), 3, True, torch.bfloat16, 1),
    ((1, 32, 24, 24), 2, True, torch.float32, 256),  # several tiles a group
]


def apart(device):
    """Relative differences of y, dx, dw and db from float64, for each of SHAPES; inputs far from zero."""
    from fromnoise.nn import fused_norm

    found, generator = [], torch.Generator().manual_seed(0)
    for shape, groups, silu, dtype, fused_norm.PROGRAMS in SHAPES:
        x, probe = (torch.randn(shape, generator=generator) for _ in range(2))
        x = (3 * x + 20).to(dtype).to(device).contiguous(memory_format=torch.channels_last).requires_grad_()
        w, b = (torch.randn(shape[1], generator=generator).to(device).requires_grad_() for _ in range(2))
        y = fused_norm.Fused.apply(x, w, b, groups, 1e-6, silu)
        probe = probe.to(dtype).to(device)
        (y * probe).sum().backward()
        exact = [v.detach().cpu().double().requires_grad_() for v in (x, w, b)]
        wanted = F.group_norm(exact[0], groups, exact[1], exact[2], 1e-6)
        wanted = F.silu(wanted) if silu else wanted
        (wanted * probe.cpu().double()).sum().backward()
        pairs = zip([y.detach(), x.grad, w.grad, b.grad], [wanted.detach(), *(v.grad for v in exact)], strict=True)
        found.append([((one.cpu().double() - other).norm() / other.norm()).item() for one, other in pairs])
    return found


def interpreted():
    code = "import json, test_fused_norm; print(json.dumps(test_fused_norm.apart('cpu')))"
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def real():
    from fromnoise.nn import fused_norm

    usual = fused_norm.PROGRAMS
    try:
        return apart("cuda")
    finally:
        fused_norm.PROGRAMS = usual


KINDS = [*([interpreted] if sys.platform == "linux" else []), *([real] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_output_and_gradients_are_those_of_float64(kind):
    for (shape, _, _, dtype, _), differences in zip(SHAPES, kind(), strict=True):
        for what, difference in zip(("y", "dx", "dw", "db"), differences, strict=True):
            assert difference < (1e-2 if dtype == torch.bfloat16 else 3e-6), (shape, what)


if torch.cuda.is_available():

    @pytest.mark.parametrize("device", ["cuda"], ids=["real"])
    def test_the_module_takes_it_on_a_gpu(device):
        from fromnoise.nn import fused_norm

        norm = GroupNormSiLU(4, 16).to(device)
        with torch.no_grad():
            norm.weight.uniform_()
        x = torch.randn(2, 16, 8, 8, device=device)
        for half in (torch.float32, torch.bfloat16):
            y = norm(x.to(half).contiguous(memory_format=torch.channels_last))
            assert isinstance(y.grad_fn, torch.autograd.function.BackwardCFunction)
            assert type(y.grad_fn).__name__ == f"{fused_norm.Fused.__name__}Backward"
            torch.testing.assert_close(
                y.float(), norm(x).float(), atol=3e-2 if half == torch.bfloat16 else 1e-5, rtol=1e-2
            )


def test_what_is_compiled_in_fits_every_network():
    """Of U-Nets from 32 to 1,024 channels: a tile is never too large, and every group is some program's."""
    from fromnoise.nn.fused_norm import plan

    for channels in range(32, 1025, 32):
        for images in (1, 16, 256):
            (rows, columns), sizes = plan(images, channels, 32, True)
            assert rows == images
            assert columns * sizes["GROUPS"] >= 32 > (columns - 1) * sizes["GROUPS"]
            assert sizes["EACH"] <= sizes["WIDTH"] < 2 * sizes["EACH"]
            assert sizes["GROUPS"] * sizes["WIDTH"] * sizes["PLACES"] <= 4096
