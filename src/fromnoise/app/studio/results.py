"""Downloads: PNG files that record how they were made."""

import io
import json

import numpy as np

from fromnoise.app.studio.frames import pack, unpack
from fromnoise.app.studio.job import ENDED, Job
from fromnoise.errors import FromNoiseError


def last(job: Job) -> bytes:
    """The last frame of a stream, which says how the job ended."""
    return pack({"kind": "over", "state": job.state, "words": job.words, "seconds": job.seconds})


def png(job: Job, image: str = "all") -> bytes:
    """Return the samples of a job, as a grid or a single image, as PNG.

    Its metadata holds the command, the Python script and the request.

    Raises:
        FromNoiseError: if the job has no images, or none with that number.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if job.state not in ENDED or not job.frames:
        raise FromNoiseError("this job is not finished yet")
    header, _ = unpack(job.frames[0])
    pixels = unpack(job.frames[-1])[1].get("x")
    if pixels is None or pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[1] not in (1, 3, 4):
        raise FromNoiseError("this result has no images with 1, 3 or 4 channels, which PNG needs")
    if image == "all":
        sheet = _sheet(pixels)
    elif image.isdecimal() and len(image) < 9 and int(image) < len(pixels):
        sheet = pixels[int(image)].transpose(1, 2, 0)
    else:
        raise FromNoiseError(f"image must be all or a number from 0 to {len(pixels) - 1}, got {image[:40]!r}")
    told = PngInfo()
    told.add_itxt("Software", "fromnoise studio")
    for key in ("command", "python"):
        if header.get(key):
            told.add_itxt(f"fromnoise.{key}", header[key])
    told.add_itxt("fromnoise.request", json.dumps({"kind": job.kind, **job.values}))
    box = io.BytesIO()
    Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(box, "PNG", pnginfo=told)
    return box.getvalue()


def _sheet(pixels: np.ndarray) -> np.ndarray:
    """Arrange images [N, C, H, W] in a grid [rows * H, columns * W, C], without scaling."""
    n, c, h, w = pixels.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = np.zeros((rows * h, columns * w, c), np.uint8)
    for i, one in enumerate(pixels):
        y, x = i // columns * h, i % columns * w
        sheet[y : y + h, x : x + w] = one.transpose(1, 2, 0)
    return sheet
