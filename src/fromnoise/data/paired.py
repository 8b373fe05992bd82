"""Pairs of noise and the sample that a model makes from it: the training data of reflow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fromnoise.data.examples import Conditions, Examples, digest
from fromnoise.denoise import Denoiser, Given
from fromnoise.errors import FromNoiseError
from fromnoise.paths import conditions, follow
from fromnoise.registry import spec
from fromnoise.samplers.base import Sampler, plan
from fromnoise.schedules.base import Chain
from fromnoise.schedules.spacings.base import Spacing
from fromnoise.system import checks, rng
from fromnoise.system.disk import files, placing, storage
from fromnoise.system.progress import Bar, warn

BLOCK = 1024
"""Pairs that are made and saved together: an interruption loses at most so many."""

_ABOUT = "pairs.json"
_CLOSE = 1e-3


class Paired(Examples):
    """Examples (x_0, {"noise": eps, ...}) with x_0 = ODE(eps), float32, and the conditions that x_0 was sampled with.

    Only x_0 is stored: the noise is recomputed as eps_i = `rng.normal(seed, [i], 0, shape)`.

    Args:
        parts: x_0 in consecutive arrays [B, ...], in memory or mapped from files.
        told: the conditions of all examples, each [N, ...].
        seed, dtype: seed and type of the noise.
        classes: names of the classes.
    """

    name = "pairs of a model"
    in_memory = True

    def __init__(
        self, parts: Sequence[np.ndarray], told: Conditions, seed: int, dtype: torch.dtype, classes: Sequence[str] = ()
    ):
        self.parts, self.told, self.seed, self.dtype, self.classes = list(parts), told, seed, dtype, classes
        self.starts = np.cumsum([0, *map(len, parts)])
        self.shape = tuple(parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        chosen = np.arange(len(self))[np.asarray(indices)]
        places = np.searchsorted(self.starts, chosen, side="right") - 1
        rows = [self.parts[p][i - self.starts[p]] for p, i in zip(places, chosen, strict=True)]
        noise = rng.normal(self.seed, chosen.tolist(), 0, self.shape, dtype=self.dtype).float()
        told = {name: value[torch.as_tensor(chosen)] for name, value in self.told.items()}
        return torch.from_numpy(np.array(rows)).float(), {"noise": noise} | told

    def content(self) -> str:
        return digest(self)


def reflow_pairs(
    denoiser: Denoiser,
    n: int,
    *,
    sampler: Sampler | str = "heun",
    steps: int = 50,
    spacing: str | Spacing | None = None,
    seed: int = 0,
    cond: Given | None = None,
    folder: str | Path | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> Paired:
    """(x_0, eps) with x_0 = ODE(eps), eps ~ N(0, I): n pairs whose paths do not cross, to train a student on.

    Reflow is `fn.fit(student, data.reflow_pairs(teacher, n), coupling="given")`. The minimum of the flow loss is lower
    for such pairs than for independent ones; for the exact flow in one dimension it is 0. The student's paths are
    straighter, so that it needs few steps, and only one if the paths are straight. Source: Liu et al. 2023 (arXiv
    2209.03003), algorithm 1.

    Args:
        denoiser: the teacher, with a shape and including its guidance; for a latent model the pairs are latents.
        n: number of pairs.
        sampler: a deterministic sampler: an object, or a registered name.
        steps, spacing: see `sample`.
        seed: seed of the noise.
        cond: conditions, each [n, ...], which the student gets as well; default: for a class-conditional model, all
            classes in turn.
        folder: folder in which x_0 (.npy) and the conditions are saved in blocks of 1,024, so that an interrupted call
            continues and a second one only reads. Pairs of another model, sampler or seed are made again, with a
            warning.
        batch_size: samples that are drawn together.
        progress: whether to show a bar with the time left.

    Raises:
        FromNoiseError: the sampler draws noise, the model has no shape, a condition is called noise, or the folder
            holds something else.
    """
    checks.instance("denoiser", denoiser, Denoiser, "fn.Denoiser(network, schedule)")
    n, seed = checks.whole("n", n, 1), checks.whole("seed", seed)
    batch_size = checks.whole("batch_size", batch_size, 1)
    found, chain = plan(denoiser, sampler, steps, spacing)
    told = conditions(denoiser, cond, n)
    if "noise" in told:
        raise FromNoiseError("cond: a condition cannot be called noise, the name of the pairs' own noise: rename it")
    bar = Bar("pairs", n) if progress else None

    def make(numbers: range) -> np.ndarray:
        parts = []
        with denoiser.evaluating():
            for start in range(numbers.start, numbers.stop, batch_size):
                own = range(start, min(start + batch_size, numbers.stop))
                part = {name: value[own.start : own.stop] for name, value in told.items()}
                parts.append(follow(denoiser, own, chain, found, seed, part)[1].float().cpu().numpy())
                if bar is not None:
                    bar.advance(len(own))
        return np.concatenate(parts)

    blocks = [range(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    try:
        if folder is None:
            arrays = [make(numbers) for numbers in blocks]
        else:
            about = _about(denoiser, n, found, chain, seed, told)
            arrays = _kept(files.expanded(folder), about, blocks, make, told)
    finally:
        if bar is not None:
            bar.close()
    return Paired(arrays, told, seed, denoiser.state_dtype, tuple(denoiser.class_names))


def _kept(
    folder: Path, about: dict[str, Any], blocks: list[range], make: Callable[[range], np.ndarray], told: Conditions
) -> list[np.ndarray]:
    """The blocks of a folder, mapped into memory; those that are missing or damaged are made."""
    arrays = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FromNoiseError(f"folder: {folder} cannot be written ({error.strerror or error})") from None
    with storage.locked(folder):
        placing.clean_up(folder)  # remove what a killed call left
        _start(folder, about)
        for number, numbers in enumerate(blocks):
            place = folder / f"block-{number:06d}"
            try:
                storage.verify_folder(place)
            except storage.Damaged as error:
                if place.exists():
                    warn(f"{error}; it is made again")
                x0 = make(numbers)
                with storage.making(place) as writing:
                    np.save(writing / "x0.npy", x0)
                    for name, value in told.items():
                        np.save(writing / f"told-{name}.npy", value[numbers.start : numbers.stop].numpy())
            arrays.append(np.load(place / "x0.npy", mmap_mode="r"))
    return arrays


def _start(folder: Path, about: dict[str, Any]) -> None:
    """Describe in the folder how its pairs are made; remove those of another model, sampler or seed.

    Raises:
        FromNoiseError: the folder holds something else.
    """
    path = folder / _ABOUT
    there = sorted(one.name for one in folder.iterdir() if one.name != _ABOUT and not one.name.startswith("."))
    strangers = [name for name in there if not name.startswith("block-")]
    if strangers or (there and not path.exists()):
        raise FromNoiseError(f"{folder}: holds {files.one_line((strangers or there)[0])}, so it is not a folder of "
                             "pairs: name another folder, or delete it")  # fmt: skip
    if path.exists():
        try:
            before = files.read_json(path)
            differs = next((key for key in about if not _same(about[key], _of(before, key))), None)
            if differs is None:
                return
            warn(f"{folder}: its pairs are of another {differs}; they are made again")
        except FromNoiseError as error:
            warn(f"{error}; its pairs are made again")
        for name in there:
            files.remove(folder / name)
    files.write_json(path, about)


def _of(before: Any, key: str) -> Any:
    return before.get(key) if isinstance(before, dict) else None


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; floats need only agree as closely as two machines compute them."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _CLOSE * max(1.0, abs(one))
    return one == other


def _about(
    denoiser: Denoiser, n: int, sampler: Sampler, chain: Chain, seed: int, told: Conditions
) -> dict[str, Any]:  # fmt: skip
    """The JSON values that determine the pairs.

    "model" is a hash of the weights; "answers" are predictions for some states, which also reflect guidance and
    clipping.
    """
    registered = getattr(type(sampler), "registered_name", None)
    return {
        "number": n,
        "shape": list(denoiser.shape or ()),
        "seed": seed,
        "dtype": str(denoiser.state_dtype).removeprefix("torch."),
        "sampler": spec(sampler) if registered else repr(sampler),
        "steps": chain.steps,
        "levels": storage.short_hash([round(value, 9) for value in chain.levels.log_snr.tolist()]),
        "conditions": storage.fingerprint(told),
        "model": storage.fingerprint(denoiser.state_dict()),
        "answers": _answers(denoiser, told),
    }


@torch.no_grad()
def _answers(denoiser: Denoiser, told: Conditions) -> list[float]:
    """x0hat of one fixed state at three levels, each summarised by its mean and by its mean product with the state."""
    rows, found = denoiser.schedule.chain, []
    x = rng.normal(1, [0], 0, tuple(denoiser.shape or ()), dtype=denoiser.state_dtype).to(denoiser.device)
    cond = denoiser.placed({name: value[:1] for name, value in told.items()})
    with denoiser.evaluating():
        for row in (0, rows.steps // 2, rows.steps - 1):
            x0 = denoiser(x, rows[row], cond).x0.double().cpu()
            found += [x0.mean().item(), (x0 * x.double().cpu()).mean().item()]
    return found
