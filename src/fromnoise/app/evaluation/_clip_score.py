"""CLIP score: how well images agree with their texts, according to CLIP."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.metrics.features.clip import ClipImage
from fromnoise.nn.text.clip import CLIPText
from fromnoise.system.hardware import exact_float32

CLIP_SCORE = "CLIP score"
_TOGETHER = 250


@dataclass(frozen=True)
class _Texts(CLIPText):
    """CLIP's text embeddings, in the space it shares with image embeddings."""

    kind: ClassVar[str] = "CLIPTextModelWithProjection"

    @torch.no_grad()
    @exact_float32()
    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as [N, D]; a text longer than CLIP's context is cut."""
        with self._explained():
            found = []
            for text in texts:
                ids = self._tokenizer.encode(self.kept(text)).ids[: self.length]
                given = torch.tensor([ids], device=next(self._network.parameters()).device)
                found.append(self._network(input_ids=given).text_embeds.float().cpu())
            return torch.cat(found)


class ClipScore:
    """100 mean(max(0, cos(image, text))) of CLIP ViT-L/14 embeddings, in [0, 100].

    Source: Hessel et al. 2021 (arXiv 2104.08718), eq. 1, without its factor of 2.5.

    Args:
        folder: folder with config.json, tokenizer.json and model.safetensors of a CLIP model; default: ViT-L/14
            from the hub.

    Raises:
        FromNoiseError: if transformers is not installed, or the weights are not available.
    """

    def __init__(self, folder: Path | None = None):
        self._images = ClipImage(folder)
        self._texts = _Texts(model=str(folder)) if folder is not None else _Texts()
        self.about = self._images.about | {"sha256": self._images.hash}

    def of(self, pixels: Tensor, texts: Sequence[str]) -> float:
        """Score images, uint8 [N, C, H, W], each with its text; images without a text are left out, NaN if all are."""
        said = [i for i, text in enumerate(texts) if text]
        if not said:
            return math.nan
        pixels, texts = pixels[said], [texts[i] for i in said]
        different = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        table = F.normalize(self._texts.vectors(list(different)))
        rows = table[[different[text] for text in texts]]
        total = 0.0
        for start in range(0, len(pixels), _TOGETHER):
            u = F.normalize(self._images(pixels[start : start + _TOGETHER]).pool)
            total += (u * rows[start : start + len(u)]).sum(1).clamp(min=0).sum().item()
        return 100 * total / len(pixels)
