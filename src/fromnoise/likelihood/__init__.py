"""Likelihood: how many bits a model needs for an example."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__, vlb="_vlb", Bound="_vlb", summary="_vlb", ode="_ode", FlowLikelihood="_ode", flow_summary="_ode"
)
