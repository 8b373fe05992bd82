"""What failures cost, and how often to save.

A run saves for C seconds after every T seconds of work; failures come at random, one in M seconds on average; after one
it takes R seconds until the run is where it was saved last.
"""

import math


def best(C: float, M: float) -> float:
    """Young's interval, sqrt(2 C M): what is saved and what is lost cost the same. Young 1974; Daly 2006."""
    return math.sqrt(2 * C * M)


def first_order(T: float, C: float, M: float, R: float = 0.0) -> float:
    """Share of the time that is not work, C/T + T/(2 M) + R/M, for C and T far below M."""
    return C / T + T / (2 * M) + R / M


def wasted(T: float, C: float, M: float, R: float = 0.0) -> float:
    """The same exactly: 1 - T / E, where E = e^(R/M) M (e^((T + C)/M) - 1) is the mean time until T of work are saved
    (Daly 2006, eq. 13, whose failures may come while a run saves or restarts, too)."""
    return 1 - T / (math.exp(R / M) * M * math.expm1((T + C) / M))


def lost_a_day(T: float, C: float, M: float) -> float:
    """Seconds of work done again in a day: half of an interval for each failure."""
    return 86400 / M * (T + C) / 2


def mean_time(devices: int, of_device: float) -> float:
    """Seconds between failures of a run, from those of a device."""
    return of_device / devices
