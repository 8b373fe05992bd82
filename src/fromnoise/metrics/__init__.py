"""How good samples are."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(__name__, distance="frechet:distance", inception_score="classes:score")
