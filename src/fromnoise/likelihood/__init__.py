"""Likelihood: the number of bits that a model needs for an example."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.likelihood._ode import FlowLikelihood as FlowLikelihood
    from fromnoise.likelihood._ode import bin_noise as bin_noise
    from fromnoise.likelihood._ode import flow_summary as flow_summary
    from fromnoise.likelihood._ode import ode as ode
    from fromnoise.likelihood._vlb import Bound as Bound
    from fromnoise.likelihood._vlb import summary as summary
    from fromnoise.likelihood._vlb import vlb as vlb
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        vlb="_vlb",
        Bound="_vlb",
        summary="_vlb",
        ode="_ode",
        FlowLikelihood="_ode",
        flow_summary="_ode",
        bin_noise="_ode",
    )
