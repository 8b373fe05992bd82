"""Text encoders: turn captions and prompts into the condition `text` of a network."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "text encoder", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.nn.text.base import TextEncoder as TextEncoder
    from fromnoise.nn.text.clip import CLIPText as CLIPText
    from fromnoise.nn.text.learned import Learned as Learned
    from fromnoise.nn.text.minilm import MiniLM as MiniLM
    from fromnoise.nn.text.sentence import Sentence as Sentence
    from fromnoise.nn.text.t5 import T5 as T5
else:
    __getattr__, __dir__ = lazy_registry(registry, TextEncoder="base")
