"""What every section of a configuration has: no unknown keys, no change afterwards, and finite numbers."""

import math
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from fromnoise.errors import FromNoiseError

_MOST = 2**63 - 1


class Section(BaseModel):
    """A part of config.yaml.

    Infinity and NaN are no options: they would reach the weights without an error on the way. Nor are whole numbers
    that no machine counts to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _of_this_world(cls, values: Any) -> Any:
        insist_on_numbers(values)
        return values

    def model_copy(self, **options: Any) -> Self:
        """As pydantic's, and checked: it does not look at what it is given."""
        insist_on_numbers(options.get("update"))
        return super().model_copy(**options)


def insist_on_numbers(value: Any, where: str = "") -> None:
    """That every number in nested dictionaries and lists is finite, and that a whole one has at most 64 bits.

    Raises:
        FromNoiseError: one is not; `where` is its key.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            insist_on_numbers(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            insist_on_numbers(inner, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise FromNoiseError(f"{where}: must be finite, got {value}")
    elif isinstance(value, int) and abs(value) > _MOST:
        raise FromNoiseError(f"{where}: must be a whole number of at most 18 digits")
