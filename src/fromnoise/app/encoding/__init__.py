"""Encoding whole data sets into latents and caption embeddings before training, with any number of processes."""
