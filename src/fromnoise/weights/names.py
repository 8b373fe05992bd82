"""File names of diffusers' pipelines, in a module that does not import torch."""

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
STEM = "diffusion_pytorch_model"
"""Stem of the weight files in every part of a pipeline."""
