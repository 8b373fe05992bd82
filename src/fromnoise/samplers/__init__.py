"""Samplers: methods that step along a chain of levels from noise to data."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "sampler", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.samplers.ancestral import Ancestral as Ancestral
    from fromnoise.samplers.annealed_langevin import AnnealedLangevin as AnnealedLangevin
    from fromnoise.samplers.base import Moment as Moment
    from fromnoise.samplers.base import Sampler as Sampler
    from fromnoise.samplers.base import plan as plan
    from fromnoise.samplers.base import sample as sample
    from fromnoise.samplers.base import walk as walk
    from fromnoise.samplers.consistency import Consistency as Consistency
    from fromnoise.samplers.ddim import DDIM as DDIM
    from fromnoise.samplers.dpm_solver import DPMSolver as DPMSolver
    from fromnoise.samplers.dpm_solver_sde import DPMSolverSDE as DPMSolverSDE
    from fromnoise.samplers.euler_maruyama import EulerMaruyama as EulerMaruyama
    from fromnoise.samplers.heun import Heun as Heun
    from fromnoise.samplers.mean_flow import MeanFlow as MeanFlow
    from fromnoise.samplers.ode import ODE as ODE
    from fromnoise.samplers.predictor_corrector import PredictorCorrector as PredictorCorrector
    from fromnoise.samplers.unipc import UniPC as UniPC
else:
    __getattr__, __dir__ = lazy_registry(
        registry, Sampler="base", Moment="base", plan="base", sample="base", walk="base"
    )
