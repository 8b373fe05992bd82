"""Base class of configuration sections: no unknown keys, immutable, and only finite numbers."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from fromnoise.registry import insist_on_numbers


class Section(BaseModel):
    """A section of config.yaml.

    Infinity and NaN are refused: they would reach the weights without an error on the way. So are integers of more than
    64 bits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _of_this_world(cls, values: Any) -> Any:
        insist_on_numbers(values)
        return values

    def model_copy(self, **options: Any) -> Self:
        """A changed copy. Unlike pydantic's, it checks that the numbers in `update` are finite."""
        insist_on_numbers(options.get("update"))
        return super().model_copy(**options)
