"""Theory against practice: every identity computed with the shipped code and compared with mathematics."""

from fromnoise.lazy import lazy_attributes

__getattr__, __dir__ = lazy_attributes(
    __name__, Row="_check", checks="_check", rows="_check", html="_report", check_figures="_report"
)
