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
"""The options that only some kinds take."""


@dataclass(frozen=True)
class Edit:
    """Edit images with a trained model.

    examples:
      fromnoise edit interpolate runs/digits a.png b.png --out path.png
          Draw 8 images on the way from a.png to b.png.
      fromnoise edit inpaint runs/digits a.png --mask mask.png --n 4
          Redraw what is black in mask.png, 4 times.
      fromnoise edit image-to-image runs/digits sketch.png --strength 0.7 --class 3
          Turn a rough sketch into 8 threes.

    kinds:
      interpolate A B    go from one image to the other, along the arc between
                         their latents, or between their embeddings with unCLIP
      reconstruct A      encode the image along the probability-flow ODE, decode
                         it again, and print the difference
      image-to-image A   add noise to the image and denoise it again
      inpaint A          redraw what is black in --mask, keep what is white
      upscale A          add the detail that a smaller image lacks
      variations A       keep the embedding of the image, draw the rest anew
      text-difference A  move the embedding from the text --from towards --text
      The last two need an unCLIP model (recipe emoji-unclip). The result is one
      image file: the given images first, then the drawn ones.
    """

    kind: Annotated[Literal["interpolate", "reconstruct", "image-to-image", "inpaint", "upscale", "variations",
                            "text-difference"], tyro.conf.Positional, option("KIND")]  # fmt: skip
    """Kind of edit; see above."""
    run: Run
    """A run folder, one of its checkpoints, a saved model, a diffusers folder, or hf://owner/name[@revision]."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional,
                      tyro.conf.arg(metavar="IMAGE ...", help_behavior_hint="(required)")]  # fmt: skip
    """Image to edit, or two images for interpolate.
    Any format that Pillow reads, of any size; it is resized to that of the model."""
    out: Annotated[File, option(default="KIND.png in the run")] = None
    """Image file to write."""
    n: Annotated[Number, option(default="8")] = None
    """Number of images to draw; not for reconstruct."""
    mask: Annotated[File, option(default="none")] = None
    """For inpaint: an image in the proportions of the given one, black where the model is to draw."""
    strength: Annotated[float | None, option("SHARE", default="by kind, as above")] = None
    """How much to change, in (0, 1].
    For image-to-image, the share of the sampling steps to take (default 0.6).
    For variations, the share of DDIM's noise, eta (default 1).
    For text-difference, how far the embedding moves (default 0.5)."""
    repeats: Annotated[Number, option(default="5")] = None
    """For inpaint: how often each step is repeated, so that the new part fits the old one.
    The network calls grow with it."""
    text: Annotated[str | None, option("TEXT", default="none")] = None
    """For text-difference: a text for what the image is to become."""
    from_: Annotated[str | None, option("TEXT", default="none", name="from")] = None
    """For text-difference: a text for what the image is now."""
    label: Annotated[str | None, option("NAME|NUMBER", default="none", name="class")] = None
    """Class of the images, for a class-conditional model."""
    guidance: Annotated[float | None, option("SCALE", default="from the recipe with --class, else 1")] = None
    """Scale of classifier-free guidance towards the class or, with unCLIP, the embedding; 1 is off."""
    sampler: Annotated[Name, option(default="from the recipe")] = None
    """Sampler; see `fromnoise list samplers`. Only for image-to-image, inpaint and upscale."""
    steps: Annotated[Number, option(default="from the recipe")] = None
    """Number of sampling steps, at most the length of the model's chain."""
    seed: int = 0
    """Random seed of the noise."""
    precision: Precision = "auto"
    """Number format of the network; auto is bf16 where the hardware multiplies it natively."""

    def __call__(self) -> int:
        wanted = 2 if self.kind == "interpolate" else 1
        if len(self.images) != wanted:
            raise FromNoiseError(f"edit {self.kind} takes {wanted} image{'s' * (wanted > 1)}, got {len(self.images)}")
        if self.kind == "inpaint" and self.mask is None:
            raise FromNoiseError("edit inpaint needs --mask FILE, black where the model is to draw")
        for name in sorted(set().union(*_TAKES.values()) - set(_TAKES[self.kind])):
            if getattr(self, "from_" if name == "from" else name) is not None:
                there = ", ".join(f"--{n}" for n in (*_TAKES[self.kind], "class", "guidance"))
                raise FromNoiseError(f"edit {self.kind} does not take --{name}; it takes {there}")
        if self.kind == "text-difference" and (self.text is None or self.from_ is None):
            raise FromNoiseError("edit text-difference needs two texts: --text for what the image is to become, "
                                 "--from for what it is now")  # fmt: skip
        least = 2 if self.kind == "interpolate" else 1  # its two ends
        if self.n is not None and self.n < least:
            raise FromNoiseError(f"--n must be at least {least}, got {self.n}")
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
