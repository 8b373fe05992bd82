"""What every section of a configuration has: no unknown keys, no change afterwards, and finite numbers."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from fromnoise.registry import insist_on_numbers


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
