"""Whether a GPU computes the same as the CPU: networks, gradients, noise, samplers, and the second-device tests."""

import copy
import importlib.util
import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

import fromnoise as fn
from fromnoise.samplers.base import walk
from gpu_stages import formats, ours
from gpu_stages.context import Context

LIMITS = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 3e-2}
TESTS = [Path(__file__).resolve().parents[2] / "tests" / name
         for name in ("test_second_device.py", "test_recording.py", "nn/test_fused_norm.py")]  # fmt: skip


def run(context: Context) -> None:
    tests = _Tests(context)
    for name in ("ddpm-cifar10", "digits", "DiT-S/2"):
        with context.trying(name):
            _network(context, name)
    with context.trying("counted noise"):
        _noise(context)
    for name in (name for name in fn.samplers.names() if not fn.samplers.get(name).student):
        with context.trying(f"walk {name}"):
            _walk(context, name)
    with context.trying("sample in bf16 beside fp32"):
        _sample(context)
    with context.trying("tests of a second device"):
        tests.told()


def _network(context: Context, name: str) -> None:
    """Compare output and gradients for random inputs, in every format, with the CPU's in fp32."""
    if name == "DiT-S/2":
        config = ours.recipe(context, "dit-xl-2", **({} if context.tiny else {"network__size": "S"}))
        size = ours.shape(context, "dit-xl-2")
    else:
        config, size = ours.recipe(context, name), ours.shape(context, name)
    denoiser = config.build(size).eval()
    ours.filled(denoiser.network, torch.seed() % 2**31)
    given = ours.inputs(denoiser, 2, torch.device("cpu"), one_level=False)
    probe = torch.randn(ours.call(denoiser.network, given).shape)
    wanted = _computed(denoiser.network, given, probe, formats.hardware("fp32"), torch.device("cpu"))
    for numbers, limit in LIMITS.items():
        if numbers == "tf32" and not context.cuda:
            context.left_out(f"{name} tf32", "a CPU has none")
            continue
        hardware = formats.hardware(numbers)
        network = hardware.prepare(copy.deepcopy(denoiser.network), inference=False)
        found = _computed(network, given, probe, hardware, context.device)
        for what, one, other in zip(("output", "gradients"), found, wanted, strict=True):
            context.check(f"{name}, {what}, {numbers}", apart(one, other), limit, numbers=numbers,
                          note=f"relative, {context.device.type} against the CPU in fp32")  # fmt: skip


def _computed(network, given, probe, hardware, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute output and gradients on `device`, and return them on the CPU."""
    x, time, told = given
    given = x.to(device), time.to(device), {key: value.to(device) for key, value in told.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=hardware.dtype == torch.bfloat16):
        out = ours.call(network, given)
    (out.float() * probe.to(device)).sum().backward()
    grads = torch.cat([p.grad.flatten().float().cpu() for p in network.parameters() if p.grad is not None])
    network.zero_grad(set_to_none=True)
    return out.detach().float().cpu(), grads


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """|one - other| / |other|."""
    one, other = one.double(), other.double()
    return ((one - other).norm() / other.norm()).item()


def _noise(context: Context) -> None:
    """Check that noise has the same bits in any batch and on any device."""
    draw, shape = fn.rng.normal, (3, 32, 32)
    seed = int(torch.randint(2**31, ()))
    wanted = draw(seed, range(8), 5, shape)
    there = formats.hardware("fp32").put(wanted)
    parts = torch.cat([draw(seed, range(3), 5, shape), draw(seed, range(3, 8), 5, shape)])
    different = (there.cpu() != wanted).sum() + (parts != wanted).sum()
    note = "numbers that differ, of 24,576 twice"
    if "device" in inspect.signature(draw).parameters:
        different = different + (draw(seed, range(8), 5, shape, device=context.device).cpu() != wanted).sum()
        note = "numbers that differ, of 24,576 three times, once drawn on the device"
    context.check("counted noise", float(different), 0, numbers="fp32", note=note)


@dataclass(frozen=True)
class _Problem:
    """An exact denoiser: sampling from the same noise must give the same result on every device."""

    denoiser: fn.Denoiser
    start: torch.Tensor

    def walked(self, sampler, device) -> torch.Tensor:
        chain = self.denoiser.schedule.steps(12, sampler.default_spacing)
        calls = iter(range(2**31))

        def noise():
            drawn = fn.rng.normal(1, range(len(self.start)), next(calls), (2,), dtype=torch.float64)
            return drawn.to(device)

        with torch.no_grad():
            return walk(self.denoiser, self.start.to(device), chain, sampler, noise).cpu()


def _walk(context: Context, name: str) -> None:
    generator = torch.Generator().manual_seed(torch.seed() % 2**31)
    spread = torch.tensor([[[0.2, 0.1], [0.1, 0.15]], [[0.1, -0.06], [-0.06, 0.08]]])
    mixture = fn.oracle.GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.5], [0.6, 0.8]]), spread)
    start = torch.randn(16, 2, dtype=torch.float64, generator=generator)
    problem = _Problem(mixture.denoiser(fn.schedules.Linear()), start)
    sampler = fn.samplers.build({"name": name, **({"rtol": 1e-8, "atol": 1e-8} if name == "ode" else {})})
    error = (problem.walked(sampler, context.device) - problem.walked(sampler, torch.device("cpu"))).abs().max()
    context.check(f"walk {name}", error.item(), 1e-6, numbers="fp64",
                  note="the largest difference of 16 samples of an exact mixture")  # fmt: skip


def _sample(context: Context) -> None:
    """Compare samples of one seed and one network; its weights are untrained, so errors are not contracted."""
    config, size = ours.recipe(context, "digits"), ours.shape(context, "digits")
    drawn = {}
    for numbers in ("fp32", "bf16"):
        denoiser = config.build(size)
        ours.filled(denoiser.network, 0)
        formats.hardware(numbers).prepare(denoiser.network, inference=True)
        drawn[numbers] = fn.sample(denoiser, 2 if context.tiny else 16, "unipc", 5 if context.tiny else 20).cpu()
    context.check("sample in bf16 beside fp32", apart(drawn["bf16"], drawn["fp32"]), 0.1, numbers="bf16",
                  note="relative, UniPC, the digits' network with random weights")  # fmt: skip


class _Tests:
    """The tests of a real device, run in parallel with this stage, which times nothing."""

    def __init__(self, context: Context):
        self.context, self.process = context, None
        self.log = context.folder / "right-tests.txt"
        self.why = (
            "there is no second device; `make test` runs them on a pretended one" if not context.cuda
            else "pytest is not installed" if importlib.util.find_spec("pytest") is None
            else "the tests are not beside the benchmarks" if not all(path.exists() for path in TESTS)
            else ""
        )  # fmt: skip
        if not self.why:
            command = [sys.executable, "-m", "pytest", "-q", "-k", "real", "-o", "addopts=", "-W", "ignore",
                       "-p", "no:cacheprovider", *map(str, TESTS)]  # fmt: skip
            command += ["-n", "4"] if importlib.util.find_spec("xdist") else []
            with self.log.open("w") as file:
                self.process = subprocess.Popen(command, cwd=TESTS[0].parents[1], stdout=file, stderr=file)

    def told(self) -> None:
        what = "tests of a second device"
        if self.process is not None:
            try:
                status = self.process.wait(max(self.context.left(), 1))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.why = "no time: they had not ended with the stage"
            else:
                lines = self.log.read_text().strip().splitlines()
                print(*lines[-40:], sep="\n")
                note = f"pytest's exit status; {lines[-1] if lines else 'no output'}"
                self.context.check(what, float(status), 0, numbers="fp32", note=note)
        if self.why:
            self.context.left_out(what, self.why)
