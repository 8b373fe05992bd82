"""Names for what can be chosen, exports that are imported when they are used, and the sections of configurations."""

from fromnoise.registry.registering import Registry, insist_on_numbers, is_entry, register, short_spec, spec

__all__ = ["Registry", "insist_on_numbers", "is_entry", "register", "short_spec", "spec"]
