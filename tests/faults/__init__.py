"""Faults on purpose: a command is run in a forked process, and the disk, the clock or the kernel fails it at one point.

`plant` wraps what writes, `worker` forks and watches, `judge` says what is right afterwards, `workshop` makes the small
runs that are attacked, `damage` and `hostile` make wrong bytes and wrong words, `readers` reads them, `fuzz` looks for
more. Used by the tests and by `benchmarks/attack.py`.
"""
