"""`fromnoise sample`."""

from dataclasses import dataclass
from typing import Annotated

from fromnoise.app.cli._options import File, Run, option
from fromnoise.app.cli._steering import Steered
from fromnoise.app.cli._words import inside, writable


@dataclass(frozen=True, kw_only=True)
class Sample(Steered):
    """Draw new images from a trained model.

    The ending of --out decides what is written: .png, .webp or .jpg a grid; .npz the images as arr_0, uint8
    [N, H, W, C]; .gif, .mp4 or .webm the denoising (the last two need the extra `media`); without one it is a folder,
    which gets a PNG for every image as it is drawn, named by seed, number and class. Sample i of a seed is the same
    whatever --n and --batch-size are.
    """

    run: Run
    """A run's folder, one of its checkpoints, a saved model or diffusers folder, or hf://owner/name[@revision]."""
    n: int = 64
    """How many."""
    seed: int = 0
    """Of the noise."""
    out: File = None
    """File to write, or a folder; samples.png in the run (here, of a model on the hub) unless named."""
    batch_size: int = 64
    """Samples that are denoised together."""
    pairs: Annotated[str | None, option("FOLDER")] = None
    """For a model that was trained with data.pairs: images that it is shown, one after the other; by default those of
    its own data, shuffled. A grid shows each beside its sample."""

    def __call__(self) -> int:
        out = self.out or inside(self.run, "samples.png")
        # A name with an ending means a file: a link of that name that leads to a folder may be planted.
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
        model.stages(choice)  # what it cannot serve is said first
        if not choice.texts and any(denoiser.text is not None for denoiser in model.networks()):
            say("drawn without words; --text says what to draw")
        if model.before is None and embedding_size(model.denoiser) is not None:
            say("drawn of no embedding: sample its cascade, whose prior draws one, or see fromnoise edit variations")
        if into_folder:
            _drawing.draw_into(out, model, self.n, choice, self.seed, self.batch_size)
            print(out)
            return 0
        writable(out)
        _drawing.draw_to(out, model, self.n, choice, self.seed, self.batch_size)
        print(out)
        return 0
