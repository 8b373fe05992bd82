"""Registries of named classes, lazily imported attributes, and the base of configuration sections."""

from fromnoise.registry.registering import Registry, insist_on_numbers, is_entry, register, short_spec, spec

__all__ = ["Registry", "insist_on_numbers", "is_entry", "register", "short_spec", "spec"]
