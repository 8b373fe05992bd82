"""Parameterisations: what a network predicts, and how x_0 and eps follow from it."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "parameterization", shared=("base", "prediction"))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.parameterizations.base import Equation as Equation
    from fromnoise.parameterizations.base import Parameterization as Parameterization
    from fromnoise.parameterizations.edm import EDM as EDM
    from fromnoise.parameterizations.eps import Eps as Eps
    from fromnoise.parameterizations.flow import Flow as Flow
    from fromnoise.parameterizations.mean import Mean as Mean
    from fromnoise.parameterizations.prediction import Prediction as Prediction
    from fromnoise.parameterizations.score import Score as Score
    from fromnoise.parameterizations.v import V as V
    from fromnoise.parameterizations.x0 import X0 as X0
else:
    __getattr__, __dir__ = lazy_registry(registry, Parameterization="base", Equation="base", Prediction="prediction")
