"""Students: what the output of a distilled model means, and which samplers can use it."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "student", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.parameterizations.students.base import Student as Student
    from fromnoise.parameterizations.students.consistency import Consistency as Consistency
    from fromnoise.parameterizations.students.guided import Guided as Guided
    from fromnoise.parameterizations.students.mean_flow import MeanFlow as MeanFlow
    from fromnoise.parameterizations.students.progressive import Progressive as Progressive
else:
    __getattr__, __dir__ = lazy_registry(registry, Student="base")
