"""`fromnoise sample`."""

from dataclasses import dataclass
from typing import Annotated

from fromnoise.app.cli._options import File, Run, option
from fromnoise.app.cli._steering import Steered
from fromnoise.app.cli._words import inside, writable


@dataclass(frozen=True, kw_only=True)
class Sample(Steered):
    """Draw new images from a trained model.

    examples:
      fromnoise sample runs/digits
          Draw 64 images as one grid, runs/digits/samples.png.
      fromnoise sample runs/digits --n 16 --class 7 --guidance 3 --out sevens.png
          Draw 16 sevens, with a guidance scale of 3.
      fromnoise sample runs/emoji-text --text "red apple" "blue heart" --out asked
          Draw two prompts in turn, each image as a PNG in the folder asked.

    output:
      The ending of --out decides what is written:
        .png .webp .jpg    a grid of all images
        .npz               the images as arr_0, uint8 [N, H, W, C]
        .gif .mp4 .webm    an animation of the denoising; .mp4 and .webm need
                           the extra `media`
        no ending          a folder with one PNG per image, written as soon as
                           it is drawn and named by seed, number and class
    """

    run: Run
    """A run folder, one of its checkpoints, a saved model, a diffusers folder, or hf://owner/name[@revision]."""
    n: int = 64
    """Number of images to draw."""
    seed: int = 0
    """Random seed; sample i of a seed is always the same image, whatever --n and --batch-size are."""
    out: Annotated[File, option("FILE|FOLDER", default="samples.png in the run")] = None
    """File or folder to write. For a model on the hub the default is samples.png in the current folder."""
    batch_size: int = 64
    """Number of images that are denoised together."""
    pairs: Annotated[str | None, option("FOLDER", default="the run's own images, shuffled")] = None
    """For models that were trained with data.pairs: the conditioning images, used one after the other.
    A grid shows each of them beside its sample."""

    def __call__(self) -> int:
        out = self.out or inside(self.run, "samples.png")
        # A name with an ending means a file, even where it is a link to a folder: someone else may have planted it.
        into_folder = not out.suffix or (out.is_dir() and not out.is_symlink())
        from fromnoise.app import runs
        from fromnoise.app.cli import _drawing
        from fromnoise.compose.unclip import embedding_size
        from fromnoise.system.progress import counter, say

        if not into_folder:
            _drawing.insist_on_ending(out)
        model = runs.open_model(self.run, self.precision, self.ema).of_images().with_images(self.pairs, counter)
        model.compile(self.compile)
        choice = model.choice(self.asked())
        model.stages(choice)  # raises for what the model cannot do, before anything is drawn
        if not choice.texts and any(denoiser.text is not None for denoiser in model.networks()):
            say("drawn without a prompt; say what to draw with --text")
        if model.before is None and embedding_size(model.denoiser) is not None:
            say("drawn without an embedding: sample the cascade, which draws one, or see fromnoise edit variations")
        if into_folder:
            _drawing.draw_into(out, model, self.n, choice, self.seed, self.batch_size)
            print(out)
            return 0
        writable(out)
        _drawing.draw_to(out, model, self.n, choice, self.seed, self.batch_size)
        print(out)
        return 0
