"""What a distilled model's output means, where it is not E[x_0 | x_t]: how it is sampled, and by what it is refused."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "student", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.students.base import Student as Student
    from fromnoise.students.consistency import Consistency as Consistency
    from fromnoise.students.guided import Guided as Guided
    from fromnoise.students.mean_flow import MeanFlow as MeanFlow
    from fromnoise.students.progressive import Progressive as Progressive
else:
    __getattr__, __dir__ = lazy_registry(registry, Student="base")
