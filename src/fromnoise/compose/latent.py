"""Codecs for latent diffusion: a model of encode(x), whose samples are decoded at the end."""

import torch
from torch import Tensor

from fromnoise.denoise import Codec
from fromnoise.errors import FromNoiseError


class Scaled(Codec):
    """z = c E(x) with c = 1 / std of E(x) over `sample`: latents of unit variance, which every schedule assumes.

    The factor c is missing in Sedykh eq. 5.3; latent diffusion's 0.18215 is an example. Any objective can then be
    trained on `encode(x)`.

    Args:
        codec: the codec whose latents are scaled.
        sample: data to measure the standard deviation on, [B, ...].
    """

    def __init__(self, codec: Codec, sample: Tensor):
        self.codec = codec
        self.scale = 1 / codec.encode(sample).std().item()

    def encode(self, x: Tensor) -> Tensor:
        return self.scale * self.codec.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.codec.decode(z / self.scale)

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.codec.image_shape(shape)


class PCA(Codec):
    """z = V'(x - mean), V the k leading eigenvectors of the covariance: the best linear codec.

    Its squared error, summed over the elements and averaged over the data, is the sum of the dropped eigenvalues. So is
    the Frechet distance between data and reconstructions.

    Args:
        sample: data, [N, ...], with N above k.
        k: number of elements of the latent.
    """

    def __init__(self, sample: Tensor, k: int):
        flat = sample.flatten(1).double()
        if not 1 <= k <= flat.shape[1]:
            raise FromNoiseError(f"k must lie between 1 and {flat.shape[1]}, got {k}")
        self.shape, self.mean = sample.shape[1:], flat.mean(0)
        self.eigenvalues, vectors = torch.linalg.eigh(torch.cov(flat.T, correction=0).reshape(len(self.mean), -1))
        self.basis = vectors[:, -k:]

    def encode(self, x: Tensor) -> Tensor:
        return ((x.flatten(1).double() - self.mean) @ self.basis).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        return (z.double() @ self.basis.T + self.mean).to(z.dtype).view(-1, *self.shape)

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.shape)
