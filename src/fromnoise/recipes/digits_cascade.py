"""Digits in two stages: 14x14 drawn from noise, and enlarged to 28x28; 4 minutes of training a stage.

- *base*: the network of the recipe digits without its folding, at a quarter of the pixels; the cosine schedule is not
  lowered, since a smaller picture of the same digit needs less noise to be unreadable.
- *x2*: the same network with its folding, shown the small digit. Noise up to 0.5 in training, 0.2 in sampling: without
  it the distance of the composite is a third higher (docs/steering.md). It is not guided: the small digit says what to
  draw.
"""

from fromnoise.data._config import DataConfig
from fromnoise.recipes._recipe import EvalConfig, Recipe, SampleConfig
from fromnoise.train.config import TrainConfig

recipe = Recipe(
    recipe="digits-cascade",
    expected="as legible as the recipe digits",
    reproduced="FD-digits-1k 24.7, class accuracy 0.999; 33.1 without augmentation (7 minutes a stage on one core)",
    network={
        "name": "unet",
        "channels": 48,
        "mult": [1, 2],
        "blocks": 2,
        "attention": [2],
        "groups": 8,
        "skips": "levels",
        "classes": 10,
    },
    schedule={"name": "cosine", "T": 1000, "shift": -1.0},
    parameterization="v",
    variance="fixed_small",
    times={"name": "stratified"},
    data=DataConfig(name="digits", size=28, channels=1),
    train=TrainConfig(
        minutes=4,
        optimizer="muon",
        batch_size=64,
        lr=4e-3,
        betas=(0.9, 0.99),
        warmup=30,
        label_dropout=0.1,
        ema=0.99,
        checkpoint_every=200,
        sample_every=200,
    ),
    sample=SampleConfig(sampler={"name": "ancestral"}, steps=50, guidance=2.0),
    evaluate=EvalConfig(features="digits", n=1000),
    stages={
        "base": {"data": {"reduce": 2}, "schedule": {"shift": 0.0}},
        "x2": {
            "low": {"factor": 2, "augmentation": {"name": "noise", "most": 0.5}},
            "network": {"patch": 2},
            "sample": {"guidance": 1.0, "strength": 0.2},
        },
    },
)
