"""The pages for people who know another library: every line of ours runs, and what is said of theirs holds."""

import functools
import inspect
import itertools
import re
import warnings
from pathlib import Path

import pytest
import torch

import fromnoise as fn

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted((DOCS / "coming-from").glob("*.md"))
ALL = [*PAGES, DOCS / "comparison.md"]
BLOCK = re.compile(r"^```(\w*|\{[^}]*\})[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
STEPS, BATCH = 2, 2
SCHEDULE = fn.schedules.Linear()

by_name = functools.partial(pytest.mark.parametrize, ids=lambda path: path.stem)


def blocks(page, language):
    return [body for kind, body in BLOCK.findall(page.read_text()) if kind == language]


def rows(page):
    """(their cell, our cell, what differs) of every table with a column "fromnoise"."""
    for table in re.findall(r"(?:^\|.*\n)+", BLOCK.sub("", page.read_text()), re.MULTILINE):
        head, _, *lines = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in table.splitlines()]
        if len(head) == 3 and head[1] == "fromnoise":
            yield from lines


@pytest.fixture
def short(tmp_path, monkeypatch):
    """A folder to write into, and trainings and samplings of two steps, whatever the page says."""
    fit, sample = fn.fit, fn.sample

    def fitted(*args, **options):
        given = {"batch_size": BATCH, "steps": STEPS, "progress": False, "precision": "fp32"}
        return fit(*args, **(options | given))

    def sampled(*args, **options):
        return sample(*args, **(options | {"steps": STEPS}))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fn, "fit", fitted)
    monkeypatch.setattr(fn, "sample", sampled)


@by_name("page", PAGES)
def test_our_lines_run(page, short):
    names: dict = {"fn": fn, "torch": torch}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # files of other libraries are opened with a word on what they do not say
        for block in blocks(page, "python"):
            if "import UNet2DModel" in block and not _has("diffusers"):
                continue
            exec(compile(block, str(page), "exec"), names)
        for found in (names[name] for name in ("x", "y") if name in names):
            assert torch.isfinite(found).all()
        for line in ours(page):
            eval(compile(line, f"{page.name}: {line}", "eval"), names)


def ours(page):
    """What stands as Python in the columns of ours, but for what is on the hub."""
    lines = [code for _, cell, _ in rows(page) for code in CODE.findall(cell)]
    return [code for code in lines if code.startswith(("fn.", "edm.")) and "hf://" not in code]


@by_name("page", [page for page in PAGES if page.stem != "index"])
def test_every_page_has_its_parts(page):
    text = page.read_text()
    assert text.count("For people who") == 1
    assert "## Defaults that change results" in text
    assert re.search(r"Checked against .*\d{4}-\d\d-\d\d|Checked against the package", text, re.DOTALL)
    assert len(ours(page)) >= 15
    said = " ".join(their for their, _, _ in rows(page)).lower()
    for word in ("schedule", "sample", "train", "guid", "load", "save", "fid"):
        assert word in said + text.lower(), word


@by_name("page", ALL)
def test_the_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text())):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            assert (page.parent / path).exists() if path else True, target
            assert not anchor, f"{target}: write the page, whose headings may change"
    for body in blocks(page, "{toctree}"):
        for name in (line for line in body.splitlines() if line and not line.startswith(":")):
            assert (page.parent / f"{name}.md").exists(), name


@by_name("page", ALL)
def test_the_lines_are_short(page):
    assert max(map(len, page.read_text().splitlines())) <= 130


def test_the_commands_and_their_options_exist(capsys):
    from fromnoise.app.cli import main
    from fromnoise.app.cli.parsing import COMMANDS

    asked: dict[str, set[str]] = {}
    for page in ALL:
        text = page.read_text()
        lines = CODE.findall(BLOCK.sub("", text)) + [
            line for kind, body in BLOCK.findall(text) for line in body.splitlines()
        ]
        for line in lines:
            if line.startswith("fromnoise "):
                _, command, *rest = line.split()
                asked.setdefault(command, set()).update(word.split("=")[0] for word in rest if word.startswith("--"))
    assert set(asked) <= set(COMMANDS)
    assert len(asked) >= 5
    for command, options in asked.items():
        with pytest.raises(SystemExit):
            raise SystemExit(main([command, "--help"]))
        said = capsys.readouterr().out
        assert [option for option in options if option not in said] == [], command


def _has(module):
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def times(spacing, n):
    return [int(level.time) for level in SCHEDULE.steps(n, spacing)][:-1]


@pytest.mark.parametrize("n", [3, 10, 50, 250, 333, 1000])
def test_spacings_of_diffusers(n):
    diffusers = pytest.importorskip("diffusers", reason="the reference implementation is not installed")
    for name, own in (("leading", "ddim"), ("linspace", "uniform"), ("trailing", "trailing")):
        scheduler = diffusers.DDPMScheduler(timestep_spacing=name)
        scheduler.set_timesteps(n)
        assert [t + 1 for t in scheduler.timesteps.tolist()] == times(own, n), name
    solver = diffusers.DPMSolverMultistepScheduler(timestep_spacing="linspace")
    solver.set_timesteps(n - 1)
    assert [t + 1 for t in solver.timesteps.tolist()] == times("uniform", n)[:-1]


def test_defaults_of_diffusers():
    diffusers = pytest.importorskip("diffusers", reason="the reference implementation is not installed")
    from diffusers.training_utils import EMAModel

    ddpm, ddim = diffusers.DDPMScheduler(), diffusers.DDIMScheduler()
    assert (ddpm.config.beta_start, ddpm.config.beta_end, ddpm.config.beta_schedule) == (1e-4, 0.02, "linear")
    torch.testing.assert_close(ddpm.alphas_cumprod.double().sqrt(), SCHEDULE.alpha[1:], rtol=1e-5, atol=0)
    assert (ddpm.config.variance_type, ddpm.config.prediction_type) == ("fixed_small", "epsilon")
    assert ddpm.config.clip_sample
    assert ddim.config.clip_sample
    assert inspect.signature(ddim.step).parameters["use_clipped_model_output"].default is False
    for name in ("DDPM", "DDIM", "PNDM"):
        assert getattr(diffusers, f"{name}Scheduler")().config.timestep_spacing == "leading"
    for name in ("DPMSolverMultistep", "UniPCMultistep", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete"):
        found = getattr(diffusers, f"{name}Scheduler")().config
        assert found.timestep_spacing == "linspace"
        assert not found.get("clip_sample", False)
    for name, steps in (("DDPM", 1000), ("DDIM", 50)):
        call = getattr(diffusers, f"{name}Pipeline").__call__
        assert inspect.signature(call).parameters["num_inference_steps"].default == steps
    far = torch.tensor([[[[-3.0, 0.5, 2.0]]]])
    assert diffusers.DDIMScheduler(thresholding=True)._threshold_sample(far).tolist() == [[[[-1.0, 0.5, 1.0]]]]
    average = EMAModel([torch.nn.Parameter(torch.zeros(1))])
    assert [average.get_decay(n) for n in (2, 11, 10**7)] == [2 / 11, 11 / 20, 0.9999]
    warm = EMAModel([torch.nn.Parameter(torch.zeros(1))], use_ema_warmup=True, power=3 / 4)
    assert warm.get_decay(16) == pytest.approx(1 - 16 ** (-3 / 4))


def test_our_own_defaults():
    fit, denoiser = inspect.signature(fn.fit).parameters, inspect.signature(fn.Denoiser.__init__).parameters
    assert (fit["ema"].default, fit["condition_dropout"].default, fit["augment"].default) == (0.9999, 0.0, 0.0)
    assert fit["flip"].default is False
    assert (denoiser["parameterization"].default, denoiser["variance"].default) == ("eps", "fixed_large")
    config = fn.train.TrainConfig(steps=1)
    assert (config.lr, config.betas, config.weight_decay) == (2e-4, (0.9, 0.999), 0)
    assert (config.batch_size, config.clip) == (128, 1)
    assert inspect.signature(fn.nn.UNet.__init__).parameters["dropout"].default == 0
    assert fn.parameterizations.EDM().data_std == 0.5
    assert (fn.times.LogNormal().mean, fn.times.LogNormal().std) == (-1.2, 1.2)
    made = fn.Denoiser(torch.nn.Conv2d(3, 3, 1), SCHEDULE, shape=(3, 4, 4))
    assert fn.samplers.base.plan(made)[1].steps == 20
    assert fn.samplers.base.plan(made, "ddim")[1].steps == 50
    assert SCHEDULE.network_time(SCHEDULE.level(1000)) == 999


def test_the_steps_of_denoising_diffusion_pytorch_and_of_guided_diffusion():
    """linspace(-1, T - 1, S + 1), whole parts, counted from 1; and every k-th of range(T)."""
    for steps in (50, 250):
        theirs = torch.linspace(-1, 999, steps + 1).int().tolist()[::-1][:-1]
        assert [t + 1 for t in theirs] == times("trailing", steps)
    assert [t + 1 for t in range(0, 1000, 20)][::-1] == times("ddim", 50)


def test_min_snr_without_a_limit_is_the_loss_of_the_noise():
    """What denoising-diffusion-pytorch minimises whatever its network predicts."""
    x0, noise, t = torch.rand(5, 2) * 2 - 1, torch.randn(5, 2), SCHEDULE.level(torch.tensor([1.0, 10, 300, 700, 1000]))
    network = _Line()
    for kind in ("eps", "v", "x0"):
        denoiser = fn.Denoiser(network, SCHEDULE, kind, shape=(2,))
        found = fn.objectives.MinSNR(gamma=1e9)(denoiser, x0, t, noise)["loss"]
        eps = denoiser(fn.gaussian.diffuse(x0, noise, t), t).eps
        torch.testing.assert_close(found, (eps - noise).square().mean(1), rtol=2e-3, atol=1e-4)


class _Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x, time):
        return self.layer(x)


def test_the_steps_of_k_diffusion():
    """Euler is DDIM, Euler ancestral is DDIM with eta = 1, and 2M is `dpm-solver`: one network, the same levels."""
    torch.manual_seed(0)
    schedule = fn.schedules.EDM(sigma_min=0.01, sigma_max=80.0)
    denoiser = fn.Denoiser(_Line(), schedule, "edm", shape=(2,)).eval()
    levels, start, z = list(schedule.steps(8)), 80 * torch.randn(6, 2), torch.randn(6, 2)
    x0 = [denoiser(start, t).x0.detach() for t in levels[:2]]
    for t, s in itertools.islice(itertools.pairwise(levels), 3):
        high, low = float(t.sigma), float(s.sigma)
        slope = (start - denoiser(start, t).x0) / high
        euler = _step(fn.samplers.DDIM(), denoiser, start, t, s, z)
        torch.testing.assert_close(euler, start + (low - high) * slope, rtol=1e-5, atol=1e-4)
        up = (low**2 * (high**2 - low**2) / high**2) ** 0.5
        wanted = start + ((low**2 - up**2) ** 0.5 - high) * slope + up * z
        torch.testing.assert_close(
            _step(fn.samplers.DDIM(eta=1.0), denoiser, start, t, s, z), wanted, rtol=1e-5, atol=1e-4
        )
    (first, second, third), solver = levels[:3], fn.samplers.DPMSolver()
    moved, state = solver.step(denoiser, start, first, second, None, lambda: z, None)
    found, _ = solver.step(denoiser, moved, second, third, state, lambda: z, None)
    a, b, c = (-torch.log(level.sigma) for level in (first, second, third))
    now, ratio = denoiser(moved, second).x0, float((b - a) / (c - b))
    ahead = (1 + 1 / (2 * ratio)) * now - x0[0] / (2 * ratio)
    wanted = float(third.sigma / second.sigma) * moved - float(torch.expm1(b - c)) * ahead
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def _step(sampler, denoiser, x, t, s, z):
    return sampler.step(denoiser, x, t, s, sampler.init(x), lambda: z, None)[0]
