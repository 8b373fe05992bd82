"""What files of diffusers' pipelines are called; to be imported without torch."""

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
STEM = "diffusion_pytorch_model"
"""Of the weights, in every part."""
