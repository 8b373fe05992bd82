"""Export a denoiser and its sampler as graphs for other programs: ONNX and torch.export."""

from typing import TYPE_CHECKING

from fromnoise.registry.lazy import lazy_attributes

if TYPE_CHECKING:
    from fromnoise.weights.graphs.writing import Error as Error
    from fromnoise.weights.graphs.writing import Exported as Exported
    from fromnoise.weights.graphs.writing import export as export
else:
    __getattr__, __dir__ = lazy_attributes(__name__, Error="writing", Exported="writing", export="writing")
