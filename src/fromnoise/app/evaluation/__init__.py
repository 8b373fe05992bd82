"""Evaluating a trained model: samples on disk, figures with their full provenance, and tables."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.app.evaluation._accuracy import accuracy_over_levels as accuracy_over_levels
    from fromnoise.app.evaluation._accuracy import draw_accuracy as draw_accuracy
    from fromnoise.app.evaluation._agreement import CAPTIONS as CAPTIONS
    from fromnoise.app.evaluation._agreement import Judge as Judge
    from fromnoise.app.evaluation._bits import bits_per_dim as bits_per_dim
    from fromnoise.app.evaluation._bits import check_bits as check_bits
    from fromnoise.app.evaluation._bits import variance_from as variance_from
    from fromnoise.app.evaluation._clip_score import CLIP_SCORE as CLIP_SCORE
    from fromnoise.app.evaluation._clip_score import ClipScore as ClipScore
    from fromnoise.app.evaluation._evaluate import evaluate as evaluate
    from fromnoise.app.evaluation._evaluate import measure as measure
    from fromnoise.app.evaluation._guidance_table import GuidanceTable as GuidanceTable
    from fromnoise.app.evaluation._paths_table import GRIDS as GRIDS
    from fromnoise.app.evaluation._paths_table import paths_as_csv as paths_as_csv
    from fromnoise.app.evaluation._paths_table import paths_as_markdown as paths_as_markdown
    from fromnoise.app.evaluation._paths_table import straightness as straightness
    from fromnoise.app.evaluation._reference import Reference as Reference
    from fromnoise.app.evaluation._reference import reference as reference
    from fromnoise.app.evaluation._samplers_table import SamplersTable as SamplersTable
    from fromnoise.app.evaluation._steps_table import StepsTable as StepsTable
    from fromnoise.app.evaluation._table import Table as Table
    from fromnoise.app.evaluation.parts import Parts as Parts
    from fromnoise.app.evaluation.report import short as short
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        accuracy_over_levels="_accuracy",
        bits_per_dim="_bits",
        check_bits="_bits",
        draw_accuracy="_accuracy",
        evaluate="_evaluate",
        GuidanceTable="_guidance_table",
        GRIDS="_paths_table",
        CAPTIONS="_agreement",
        CLIP_SCORE="_clip_score",
        ClipScore="_clip_score",
        Judge="_agreement",
        Parts="parts",
        measure="_evaluate",
        paths_as_csv="_paths_table",
        paths_as_markdown="_paths_table",
        straightness="_paths_table",
        Reference="_reference",
        reference="_reference",
        short="report",
        Table="_table",
        SamplersTable="_samplers_table",
        StepsTable="_steps_table",
        variance_from="_bits",
    )
