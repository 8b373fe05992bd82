"""What failures cost, and how often to save.

A run saves for C seconds after every T seconds of work. Failures come at random, one in M seconds on average. After a
failure it takes R seconds until the run is back at its last checkpoint.
"""

import math


def best(C: float, M: float) -> float:
    """Young's interval, sqrt(2 C M), at which saving costs as much as lost work. Young 1974; Daly 2006."""
    return math.sqrt(2 * C * M)


def first_order(T: float, C: float, M: float, R: float = 0.0) -> float:
    """Share of the time that is wasted, C/T + T/(2 M) + R/M, for C and T far below M."""
    return C / T + T / (2 * M) + R / M


def wasted(T: float, C: float, M: float, R: float = 0.0) -> float:
    """Exact share of wasted time, 1 - T / E, where E = e^(R/M) M (e^((T + C)/M) - 1) is the mean time until T seconds
    of work are saved (Daly 2006, eq. 13; failures may also happen while a run saves or restarts)."""
    return 1 - T / (math.exp(R / M) * M * math.expm1((T + C) / M))


def lost_a_day(T: float, C: float, M: float) -> float:
    """Seconds of work repeated per day: half an interval per failure."""
    return 86400 / M * (T + C) / 2


def mean_time(devices: int, of_device: float) -> float:
    """Mean seconds between failures of a run, from those of one device."""
    return of_device / devices
