"""All stages of `benchmarks/attack.py`."""

from attack_stages.commands import LINES, PAIRS, PLANTED
from attack_stages.fuzzing import FUZZ
from attack_stages.growth import GROWTH
from attack_stages.reading import FLIPS, IMAGES, MODELS
from attack_stages.training import KILLS, POINTS

STAGES = (KILLS, *POINTS, *FLIPS, LINES, IMAGES, MODELS, PAIRS, PLANTED, GROWTH, *FUZZ)
