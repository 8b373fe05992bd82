"""A trained model, measured: samples on the disk, figures with all that was done to get them, tables."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__,
    accuracy_over_levels="_accuracy",
    evaluate="_evaluate",
    GuidanceTable="_guidance_table",
    measure="_evaluate",
    Reference="_reference",
    reference="_reference",
    short="report",
    Table="_table",
    SamplersTable="_samplers_table",
    StepsTable="_steps_table",
)
