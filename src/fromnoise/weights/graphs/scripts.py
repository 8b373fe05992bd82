"""The programs that are written beside the graphs to run them without this library."""

_COMMON_HEAD = '''
import json
import struct
import sys
import zlib
from pathlib import Path

{imports}

here = Path(__file__).parent
about = json.loads((here / "export.json").read_text())
try:
    n, seed = int((sys.argv[1:] or ["16"])[0]), int((sys.argv[2:] or ["0"])[0])
except ValueError:
    n, seed = 0, 0
if n < 1 or not 0 <= seed < 2**63:
    sys.exit("python run.py [HOW MANY, from 1] [SEED, from 0]")


def read(name, what):
    """A condition of yours: put it beside this file, one for each sample."""
    path, shape = here / f"{{name}}{suffix}", [n, *what["shape"][1:]]
    if not path.exists():
        sys.exit(f"{{path}}: no such file: put the condition {{name}} there, {{what['type']}} of the shape {{shape}}")
    value = {load}
    if list(value.shape) != shape:
        sys.exit(f"{{path}}: has the shape {{list(value.shape)}}, and {{n}} samples need {{shape}}")
    return value
'''

_PICTURE = '''

def png(path, image):
    """A picture of [height, width, 1 or 3 channels], uint8."""
    (h, w, c), chunks = image.shape, b"\\x89PNG\\r\\n\\x1a\\n"
    rows = b"".join(b"\\0" + {bytes_of_row} for row in image)  # each begins with the number of its filter: none
    size = struct.pack(">IIBBBBB", w, h, 8, 0 if c == 1 else 2, 0, 0, 0)
    for kind, data in ((b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(chunks)

'''

ONNX = (
    '''"""Draws samples with numpy and onnxruntime alone: python run.py [HOW MANY] [SEED]

Writes samples.npy, and samples.png where they are images. The other graph, denoiser.onnx, gives x0 and eps of any x_t:
session.run(None, {"x_t": ..., "t": np.full(n, 500.0), ...}); export.json lists the inputs of both, and alpha and sigma.
"""
'''
    + _COMMON_HEAD.format(
        imports="import numpy as np\nimport onnxruntime", suffix=".npy", load='np.load(path).astype(what["type"])'
    )
    + _PICTURE.format(bytes_of_row="row.tobytes()")
    + """
rng, given = np.random.default_rng(seed), {}
for name, what in about["sampler"]["inputs"].items():
    shape = [n if side == "N" else side for side in what["shape"]]
    if name in ("x_T", "noise"):  # the start, and what a stochastic sampler adds on its way
        given[name] = rng.standard_normal(shape).astype(what["type"])
    elif name == "label" and about["classes"]:  # every class in turn
        given[name] = np.arange(n) % about["classes"]
    else:
        given[name] = read(name, what)
given["x_T"] = about["prior"]["mean"] + about["prior"]["std"] * given["x_T"]

(x,) = onnxruntime.InferenceSession(here / "sampler.onnx").run(None, given)
np.save("samples.npy", x)
if x.ndim == 4 and x.shape[1] in (1, 3):  # images in [-1, 1], side by side
    pixels = np.round((x.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    png(Path("samples.png"), pixels.transpose(2, 0, 3, 1).reshape(x.shape[2], -1, x.shape[1]))
"""
)

TORCH = (
    '''"""Draws samples with PyTorch alone: python run.py [HOW MANY] [SEED]

Writes samples.pt, and samples.png where they are images. The other graph, denoiser.pt2, gives x0 and eps of any x_t:
module({"x_t": ..., "t": torch.full((n,), 500.0, dtype=torch.float64), ...}); export.json lists the inputs of both, and
alpha and sigma.
"""
'''
    + _COMMON_HEAD.format(
        imports="import torch", suffix=".pt", load='torch.load(path).to(getattr(torch, what["type"]))'
    )
    + _PICTURE.format(bytes_of_row="bytes(row.flatten().tolist())")
    + """
rng, given = torch.Generator().manual_seed(seed), {}
for name, what in about["sampler"]["inputs"].items():
    shape = [n if side == "N" else side for side in what["shape"]]
    if name in ("x_T", "noise"):  # the start, and what a stochastic sampler adds on its way
        given[name] = torch.randn(shape, generator=rng, dtype=getattr(torch, what["type"]))
    elif name == "label" and about["classes"]:  # every class in turn
        given[name] = torch.arange(n) % about["classes"]
    else:
        given[name] = read(name, what)
given["x_T"] = about["prior"]["mean"] + about["prior"]["std"] * given["x_T"]

(x,) = torch.export.load(here / "sampler.pt2").module()(given)
torch.save(x, "samples.pt")
if x.dim() == 4 and x.shape[1] in (1, 3):  # images in [-1, 1], side by side
    pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    png(Path("samples.png"), pixels.permute(2, 0, 3, 1).reshape(x.shape[2], -1, x.shape[1]))
"""
)
