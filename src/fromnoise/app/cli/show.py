"""`fromnoise show`."""

from dataclasses import dataclass

from fromnoise.app.cli._options import Run
from fromnoise.app.cli._words import inside, writable
from fromnoise.app.runs.config import read_if_any
from fromnoise.system.disk.hub import is_address, shown
from fromnoise.system.progress import say


@dataclass(frozen=True)
class Show:
    """Draw figures of a run: samples, noising, denoising.

    examples:
      fromnoise show runs/digits
          Write samples.png, forward.png and denoising.gif into
          runs/digits/pictures.
      fromnoise show runs/digits --n 16 --seed 1
          Show a grid of 16 samples, drawn with another seed.

    details:
      forward.png shows the forward process on images of the training data. A
      saved model has no data and gets no forward.png. For a model on the hub the
      files are written into the folder pictures.
    """

    run: Run
    """A run folder, a saved model, a diffusers folder, or hf://owner/name[@revision]."""
    n: int = 64
    """Number of samples in the grid."""
    seed: int = 0
    """Random seed of the samples and of the noise."""

    def __call__(self) -> int:
        from fromnoise.app import figures, runs
        from fromnoise.app.cli import _drawing
        from fromnoise.data.images import to_unit
        from fromnoise.data.loading import load
        from fromnoise.system.disk import files, pictures
        from fromnoise.system.progress import counter

        config = None if is_address(self.run) else read_if_any(self.run)
        model = runs.open_model(self.run).of_images().with_images(None, counter)
        choice = model.choice()
        folder = files.own_folder(inside(self.run, "pictures"))
        grid, forward, film = (writable(folder / name) for name in ("samples.png", "forward.png", "denoising.gif"))
        schedule = model.denoiser.schedule
        if config is not None:
            x0 = to_unit(load(config.data, counter).batch([0, 1, 2, 3])[0])
            figures.forward_process(x0, schedule, forward, figures.default_times(schedule), self.seed)
        _drawing.animation(film, model, min(self.n, 20), choice, self.seed)
        pixels = _drawing.draw(model, self.n, choice, self.seed, batch_size=64)
        pictures.save(_drawing.as_grid(pixels, model, choice), grid)
        made = {grid: f"{self.n} new samples", forward: "the forward process", film: "the denoising"}
        if config is None:
            del made[forward]
        for path, what in made.items():
            print(f"{path}   {what}")
        name = shown(self.run)
        walk = "--sampler ddim --steps 20" if model.denoiser.student is None else f"--steps {choice.steps}"
        say(f"next: fromnoise sample {name} --n 64 {walk} --seed 1 --out few-steps.png")
        say(f"      fromnoise info {name}")
        if config is not None:
            say(f"      fromnoise train {config.recipe} --out {name} --resume --minutes 20    (longer is better)")
        return 0
