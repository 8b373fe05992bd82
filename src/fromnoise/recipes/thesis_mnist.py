"""The MNIST model of Sedykh's thesis: 7,339,297 parameters, no attention, linear schedule (Sedykh 6).

As in Sedykh's notebook: channels 32, 64, 128, 256 with one residual block per level, strided 4x4 convolutions
down and transposed ones up, GroupNorm 8, dropout 0.1, time features of width 128, learning rate 1e-4,
batch 64, 20 epochs of 60,000 digits. There are three deliberate differences: the 28x28 digits are padded to 32x32
instead of being resampled, so that no pixel changes; the weights are averaged; the gradient is clipped.
"""

from fromnoise.data.config import DataConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import EvalConfig, SampleConfig
from fromnoise.train.config import TrainConfig

recipe = Recipe(
    recipe="thesis-mnist",
    expected="no metric in the thesis; 70 s an epoch, 13.4 s a sample on an M2 Pro (Sedykh 6)",
    reproduced="network, training and times in notebooks/mnist.ipynb; not its 20 epochs, on this hardware",
    network={
        "name": "unet",
        "channels": 32,
        "mult": [1, 2, 4, 8],
        "blocks": 1,
        "attention": [],
        "mid_attention": False,
        "groups": 8,
        "eps": 1e-5,
        "dropout": 0.1,
        "time_features": 128,
        "time_width": 128,
        "time_endpoint": False,
        "resample": "4x4",
        "skips": "levels",
    },
    data=DataConfig(name="mnist", size=32, channels=1, fit="pad"),
    train=TrainConfig(steps=18_760, batch_size=64, lr=1e-4, ema=0.999, checkpoint_every=938, sample_every=938),
    sample=SampleConfig(sampler={"name": "ddim"}, steps=50),
    evaluate=EvalConfig(features="digits", n=1000),
)
