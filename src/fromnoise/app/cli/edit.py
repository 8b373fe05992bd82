"""`fromnoise edit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fromnoise.app.cli._options import File, Name, Number, Precision, Run, option
from fromnoise.app.cli._words import inside, writable
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import hub

_TAKES = {
    "interpolate": ("n",),
    "reconstruct": (),
    "image-to-image": ("n", "strength", "sampler", "steps"),
    "inpaint": ("n", "mask", "repeats", "sampler", "steps"),
    "upscale": ("n", "sampler", "steps"),
    "variations": ("n", "strength", "steps"),
    "text-difference": ("n", "strength", "text", "from"),
}
"""Options that only some kinds take."""


@dataclass(frozen=True)
class Edit:
    """Change images with a trained model. Written: one picture, the given images first.

    interpolate A B: from one image to another, through the arc between their latents.

    reconstruct A: to its latent and back along the probability-flow ODE, and how far off that ends.

    image-to-image A: noised by --strength and denoised anew, n times.

    inpaint A --mask M: draw what is black in the mask, keep what is white, n times.

    upscale A: draw what a smaller image does not say, n times.

    variations A: keep what unCLIP's embedding says of an image, draw the rest anew, n times.

    text-difference A --text NEW --from OLD: move the embedding from one text towards another, in n parts.

    The last two are of unCLIP (recipe emoji-unclip), whose interpolate goes between embeddings, too.
    """

    kind: Annotated[Literal["interpolate", "reconstruct", "image-to-image", "inpaint", "upscale", "variations",
                            "text-difference"], tyro.conf.Positional, option("KIND")]  # fmt: skip
    """interpolate, reconstruct, image-to-image, inpaint, upscale, variations, text-difference."""
    run: Run
    """A run's folder, one of its checkpoints, a saved model or diffusers folder, or hf://owner/name[@revision]."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, option("IMAGE")]
    """Files in any format that Pillow reads, of any size; fitted to the model's."""
    out: File = None
    """Picture to write; KIND.png in the run unless named."""
    n: Number = None
    """How many images are drawn; 8 by default. Not of reconstruct."""
    mask: File = None
    """Of inpaint: an image like the given one, black where the model is to draw."""
    strength: Annotated[float | None, option("SHARE")] = None
    """In (0, 1], more changes more. Of image-to-image: share of the steps that are walked (0.6 by default); of
    variations: share of DDIM's noise (1); of text-difference: how far the embedding moves (0.5)."""
    repeats: Number = None
    """Of inpaint: how often each step is walked until the parts agree; each costs its network calls; 5 by default."""
    text: Annotated[str | None, option("TEXT")] = None
    """Of text-difference: what the image shall become."""
    from_: Annotated[str | None, tyro.conf.arg(name="from", metavar="TEXT")] = None
    """Of text-difference: what it is."""
    label: Annotated[str | None, tyro.conf.arg(name="class", metavar="NAME|NUMBER")] = None
    """Of the images, for a model that knows classes; none by default."""
    guidance: Annotated[float | None, option("SCALE")] = None
    """Of classifier-free guidance, towards a class or, of unCLIP, the embedding; 1 = off; off unless a class is given,
    and then as the recipe says."""
    sampler: Name = None
    """See `fromnoise list samplers`; the recipe's own unless named. Not of interpolate and reconstruct."""
    steps: Number = None
    """Of the sampler, at most the length of the model's chain."""
    seed: int = 0
    """Of the noise."""
    precision: Precision = "auto"
    """auto: bf16 where the hardware multiplies it natively."""

    def __call__(self) -> int:
        wanted = 2 if self.kind == "interpolate" else 1
        if len(self.images) != wanted:
            raise FromNoiseError(f"edit {self.kind} takes {wanted} image{'s' * (wanted > 1)}, got {len(self.images)}")
        if self.kind == "inpaint" and self.mask is None:
            raise FromNoiseError("edit inpaint needs --mask FILE, black where the model is to draw")
        for name in sorted(set().union(*_TAKES.values()) - set(_TAKES[self.kind])):
            if getattr(self, "from_" if name == "from" else name) is not None:
                there = ", ".join(f"--{n}" for n in (*_TAKES[self.kind], "class", "guidance"))
                raise FromNoiseError(f"edit {self.kind} has no --{name}; it has {there}")
        if self.kind == "text-difference" and (self.text is None or self.from_ is None):
            raise FromNoiseError("edit text-difference needs --text TEXT, what the image shall become, and --from "
                                 "TEXT, what it is")  # fmt: skip
        if self.n is not None and self.n < 1:
            raise FromNoiseError(f"--n must be at least 1, got {self.n}")
        import torch

        from fromnoise.app import edits, runs
        from fromnoise.app.runs.embedded import opened
        from fromnoise.data.images import to_uint8, to_unit
        from fromnoise.system.disk import pictures

        model = runs.open_model(self.run, self.precision).of_images()
        edits.insist_on_fit(self.kind, model, self.guidance, self.label, "name it with --class")
        scale = self.guidance if self.guidance is not None else (None if self.label else 1.0)
        asked = runs.SampleOptions(sampler=self.sampler, steps=self.steps, guidance=scale, label=self.label)
        choice = model.choice(asked)
        given = to_unit(edits.read(self.kind, model, self.images))
        out = writable(self.out or inside(self.run, f"{self.kind}.png"))
        pictures.format_of(out)
        size = given.shape[-2], given.shape[-1]
        mask = edits.read_mask(self.mask, self.images[0], size) if self.mask is not None else None
        embeds = edits.decodes(self.kind, model) and not hub.is_address(self.run)
        words = None if self.text is None or self.from_ is None else (self.text, self.from_)
        shown, made = edits.edit(
            self.kind, choice.steered(model.denoiser), given, choice, n=self.n, mask=mask, strength=self.strength,
            repeats=self.repeats, seed=self.seed, image_text=opened(self.run) if embeds else None, words=words
        )  # fmt: skip
        picture = pictures.grid(to_uint8(torch.cat([shown, made])), columns=min(10, len(shown) + len(made)))
        pictures.save(picture, out)
        print(out)
        return 0
