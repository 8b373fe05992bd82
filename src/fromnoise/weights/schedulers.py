"""Translate diffusers' schedulers: the chain, the quantity that a network predicts, and its variance."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fromnoise import schedules
from fromnoise.errors import FromNoiseError
from fromnoise.schedules.base import Schedule
from fromnoise.system.disk import files

CLASSES = ("DDPMScheduler", "DDIMScheduler")
STEPS = 1000
"""Steps of the common chain, for which their networks and ours get the same times."""
KINDS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
VARIANCES = {"fixed_small": "fixed_small", "fixed_small_log": "fixed_small", "fixed_large": "fixed_large",
              "fixed_large_log": "fixed_large", "learned_range": "learned_range"}  # fmt: skip


class Meaning(NamedTuple):
    """The meaning of a network's time and output: schedule, parameterization, variance and `time_scale`."""

    schedule: Schedule
    kind: str
    variance: str
    time_scale: float


def meaning(scheduler: Mapping[str, Any], where: object) -> Meaning:
    """Translate a scheduler's configuration.

    Raises:
        FromNoiseError: if none of our schedules, parameterizations or variances fits; the message names `where`.
    """
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in KINDS:
        raise FromNoiseError(f"{where}: predicts {files.one_line(kind)}; it must be one of {', '.join(KINDS)}")
    variance = scheduler.get("variance_type", "fixed_small")
    if variance not in VARIANCES:
        raise FromNoiseError(f"{where}: its variance is {files.one_line(variance)}; it must be one of "
                             f"{', '.join(VARIANCES)}")  # fmt: skip
    made = schedules.build(_schedule(scheduler, where))
    return Meaning(made, KINDS[kind], VARIANCES[variance], made.T / STEPS)


def _schedule(scheduler: Mapping[str, Any], where: object) -> dict[str, Any]:
    steps = scheduler.get("num_train_timesteps", STEPS)
    kind = scheduler.get("beta_schedule", "linear")
    ends = {"beta_start": scheduler.get("beta_start", 1e-4), "beta_end": scheduler.get("beta_end", 0.02)}
    known: dict[str, dict[str, Any]] = {
        "linear": {"name": "linear", "T": steps, **ends},
        "scaled_linear": {"name": "scaled-linear", "T": steps, **ends},
        "squaredcos_cap_v2": {"name": "cosine", "T": steps},
    }
    betas = scheduler.get("trained_betas")
    if betas is not None:
        if not isinstance(betas, list) or not all(isinstance(b, float | int) and 0 < b < 1 for b in betas):
            raise FromNoiseError(f"{where}: its trained_betas are no list of numbers between 0 and 1")
        made = {"name": "chain", "gamma": [(1 - beta) ** 0.5 for beta in betas], "sigma": [beta**0.5 for beta in betas]}
    elif kind in known:
        made = known[kind]
    else:
        raise FromNoiseError(f"{where}: has the beta_schedule {files.one_line(kind)}; it must be one of "
                             f"{', '.join(known)}, or trained_betas be given")  # fmt: skip
    return {"name": "zero-terminal", "base": made} if scheduler.get("rescale_betas_zero_snr") else made
