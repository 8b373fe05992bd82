"""What a recipe is: everything that decides a run, checked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fromnoise.data._config import DataConfig
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.train.config import TrainConfig

if TYPE_CHECKING:
    from fromnoise.denoise import Denoiser

Spec = dict[str, Any]


class SampleConfig(BaseModel):
    """How this model is best sampled: what `fromnoise sample` does unless told otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sampler: Spec = Field({"name": "unipc"}, description="a sampler's name and its options")
    steps: int = Field(20, ge=1)
    spacing: str | None = Field(None, description="which levels; the sampler's usual ones unless given")
    clip: bool = Field(True, description="clip the predicted image to [-1, 1] at every step")
    guidance: float = Field(1.0, description="scale of classifier-free guidance, 1 = off")
    guidance_interval: tuple[float, float] | None = Field(None, description="of sigma/alpha in which it holds")
    guidance_rescale: float = Field(0.0, ge=0, le=1, description="share of the unguided deviation that is given back")
    guidance_channels: int | None = Field(None, ge=1, description="only the first so many are guided")


class EvalConfig(BaseModel):
    """How this model is best measured: what `fromnoise eval` does unless told otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: str = Field("inception", description="a feature extractor's name")
    n: int = Field(50_000, ge=2, description="samples")
    split: Literal["train", "test"] = Field("train", description="of the data: what the samples are compared with")


class Recipe(BaseModel):
    """A run's whole configuration; `config.yaml` in its folder.

    Attributes:
        recipe: the name it started from.
        expected: the published figure and its source, for `fromnoise list`.
        reproduced: whether it was, and by what, for `fromnoise list`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    expected: str = ""
    reproduced: str = "not on this hardware"
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    network: Spec
    schedule: Spec = {"name": "linear", "T": 1000}
    parameterization: Literal["eps", "x0", "mean", "v", "score", "edm"] | Spec = "eps"
    variance: Literal["fixed_small", "fixed_large", "learned_range"] = "fixed_large"
    objective: Spec = {"name": "simple"}
    times: Spec = {"name": "uniform"}
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    sample: SampleConfig = SampleConfig()
    evaluate: EvalConfig = EvalConfig()

    def build(self, shape: tuple[int, int, int] | None = None) -> "Denoiser":
        """The untrained denoiser, with weights drawn from `seed`.

        Args:
            shape: (C, H, W) of the images; None means what `data` says.

        Raises:
            FromNoiseError: no shape is known, the size does not fit the network, or an option is wrong.
        """
        import torch

        from fromnoise import nn, schedules
        from fromnoise.denoise import Denoiser
        from fromnoise.variance import variance

        if shape is None:
            if self.data.hw is None or self.data.channels is None:
                raise FromNoiseError(
                    f"recipe {self.recipe} takes its size from the data: give build() a shape (C, H, W)"
                )
            shape = (self.data.channels, *self.data.hw)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            outputs = shape[0] * variance(self.variance).outputs
            null = self.train.label_dropout > 0
            network = nn.build(self.network, in_channels=shape[0], out_channels=outputs, null_label=null)
        network.check_size(shape[1:])
        return Denoiser(network, schedules.build(self.schedule), self.parameterization, self.variance, shape)

    def with_changes(self, changes: Mapping[str, Any]) -> "Recipe":
        """A recipe with dotted keys replaced, e.g. {"train.lr": 1e-3, "network.channels": 64}.

        A limit of steps alone lifts the recipe's limit of minutes, and the other way round.

        Raises:
            FromNoiseError: an unknown key or a wrong value, in one line with the nearest key.
        """
        values = self.model_dump(mode="json")
        limits = {"train.steps", "train.minutes"}
        if len(given := limits & changes.keys()) == 1:
            changes = {(limits - given).pop(): None} | dict(changes)
        for key, value in changes.items():
            _put(values, key, value)
        return checked(values)


def checked(values: Any) -> Recipe:
    """A Recipe from plain values (a run's config.yaml).

    Raises:
        FromNoiseError: in one line: the key, what is wrong, and the nearest key where one is unknown.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown_key(key, values) from None
        raise FromNoiseError(f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}") from None


_FREE = ("network", "schedule", "objective", "times", "sampler")  # their keys are checked when the thing is built


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place: Any = values
    for part in parents:
        if not isinstance(place, dict) or part not in place:
            raise _unknown_key(key, values)
        place = place[part]
    free = bool(parents) and parents[-1] in _FREE
    if not isinstance(place, dict) or (last not in place and not free):
        raise _unknown_key(key, values)
    if isinstance(place.get(last), dict) and isinstance(value, str):
        place[last] = {"name": value}  # --set schedule=cosine
    else:
        place[last] = value


def _unknown_key(key: str, values: dict[str, Any]) -> FromNoiseError:
    known = _keys(Recipe.model_json_schema()) | _dotted(values)
    hint = nearest(key, known)
    part = key.split(".")[0]
    same = sorted(k for k in known if k.startswith(part + ".")) or sorted({k.split(".")[0] for k in known})
    return FromNoiseError(f"unknown key {key!r}{hint}; there is {', '.join(same)}")


def _dotted(values: Mapping[str, Any], before: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        found |= _dotted(value, f"{before}{key}.") if isinstance(value, dict) else {before + key}
    return found


def _keys(schema: dict[str, Any]) -> set[str]:
    """The dotted keys of the sections with fixed fields."""
    found = set()
    for key, field in schema["properties"].items():
        reference = field.get("$ref") or next((f["$ref"] for f in field.get("allOf", ()) if "$ref" in f), None)
        if reference:
            section = schema["$defs"][reference.rsplit("/", 1)[1]]
            found |= {f"{key}.{inner}" for inner in section["properties"]}
        else:
            found.add(key)
    return found
