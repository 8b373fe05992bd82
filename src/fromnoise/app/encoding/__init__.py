"""Latents and encoded captions of whole data sets, made ahead of training by any number of processes."""
