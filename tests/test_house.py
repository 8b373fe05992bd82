"""Rules that hold for the whole of the code: who imports whom, what is never called, what names cost."""

import ast
import operator
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "fromnoise"

# Lowest first: a module imports from its own layer and from those before it. A part inside another has its own layer where
# it is named here; `system` is but a place, and each of its parts is named.
LAYERS = [
    ["errors"],
    ["registry", "system.rng"],
    ["system.progress", "system.hardware"],
    ["system.disk"],
    ["nn"],
    ["system.checks"],
    ["nn.text"],
    ["gaussian"],
    ["augmentations"],
    ["schedules.spacings"],
    ["schedules"],
    ["parameterizations"],
    ["variances"],
    ["parameterizations.students"],
    ["denoise"],
    ["bound"],
    ["oracle"],
    ["guidance"],
    ["langevin", "flow"],
    ["samplers"],
    ["objectives", "times", "couplings", "paths", "editing"],
    ["likelihood", "distill"],
    ["compose"],
    ["weights.graphs"],
    ["data"],
    ["weights"],
    ["train"],
    ["metrics.features"],
    ["metrics"],
    ["recipes"],
    ["verify"],
    ["app"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(SRC.rglob("*.py"))


def part(name: str) -> str:
    """The part to which a dotted name below fromnoise belongs: the longest beginning of it that has a layer."""
    while name not in RANK and "." in name:
        name = name.rpartition(".")[0]
    return name


def place(path: Path) -> str:
    return part(".".join(path.relative_to(SRC).with_suffix("").parts))


def imports(tree: ast.AST) -> set[str]:
    """Names of fromnoise's parts that a module imports at run time."""
    found = set()
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return {part(name.removeprefix("fromnoise.")) for name in found if name.startswith("fromnoise.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_upward(path):
    here, others = place(path), imports(ast.parse(path.read_text()))
    if here in ("__init__", "__main__"):
        return
    assert here in RANK or (path.name == "__init__.py" and not others), f"{here} has no layer: put it into LAYERS"
    for other in others:
        assert other in RANK, f"{here} imports {other}: import it from where it is"
        assert RANK[other] <= RANK[here], f"{here} must not import {other}"


def test_networks_know_nothing_of_diffusion():
    for path in (SRC / "nn").rglob("*.py"):
        if place(path) == "nn":
            assert imports(ast.parse(path.read_text())) <= {"nn", "errors", "registry", "system.hardware"}


def test_the_way_to_the_loss_is_as_the_readme_says(tmp_path):
    """Every file of ours between the command and the objective, in their order."""
    code = """
import sys, traceback
from fromnoise.objectives.simple import Simple
def found(*_, **__):
    for frame in traceback.extract_stack():
        print("WAY", frame.filename)
    raise KeyboardInterrupt
Simple.__call__ = found
from fromnoise.app.cli import main
sys.argv = ["fromnoise", "train", "digits", "--out", sys.argv[1], "--set", "train.steps=1"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
    ways = [Path(line.removeprefix("WAY ")) for line in done.stdout.splitlines() if line.startswith("WAY ")]
    passed = list(dict.fromkeys(str(path.relative_to(SRC)) for path in ways if path.is_relative_to(SRC)))
    readme = (SRC.parents[1] / "docs" / "architecture.md").read_text()
    said = readme[readme.index("From `fromnoise train digits` to the loss") :].split(";")[0].split("`")[3::2]
    assert said == [*passed, "objectives/simple.py"], done.stderr
    page = (SRC.parents[1] / "docs" / "reading.md").read_text()
    assert list(dict.fromkeys(re.findall(r"literalinclude} ../src/fromnoise/(\S+)", page))) == said


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_nothing_is_executed_from_files(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {a.name for a in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if path.name == "foreign.py" and called == "torch.load":  # in a process of its own, tensors alone
                assert ast.unparse(node).endswith("weights_only=True)")
                continue
            assert called not in {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "__import__"}
            assert not any(k.arg == "allow_pickle" for k in node.keywords)


WRITES = {"write_text", "write_bytes", "unlink", "rmtree", "rename", "touch", "symlink_to", "copyfile", "copytree"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_files_are_written_in_one_place(path):
    """`files.replacing`, `files.write_text` and the like, and `storage.making` for folders: whole or absent, no links."""
    if path.parent.name == "disk" and path.name in ("files.py", "storage.py", "placing.py", "holding.py", "claims.py"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called, words = (
            ast.unparse(node.func),
            [ast.unparse(a) for a in [*node.args, *(k.value for k in node.keywords)]],
        )
        if called.rsplit(".", 1)[-1] in WRITES:
            assert called.startswith(("files.", "storage.")), f"{called} in line {node.lineno}"
        if called.rsplit(".", 1)[-1] == "open":
            modes = [
                word for word in words if word.strip("'\"") in {"w", "wb", "a", "ab", "x", "xb", "w+", "r+", "r+b"}
            ]
            assert not modes, f"{called} in line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_a_file_is_one_thing(path):
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize(
    "code",
    [
        "import fromnoise",
        "import fromnoise; fromnoise.samplers.names(); fromnoise.recipes.names()",
        "import fromnoise as f; [p.names() for p in (f.parameterizations, f.variances, f.spacings, f.train.optimizers)]",
        "import fromnoise as f; [r.registry.check(n) for r, n in ((f.parameterizations, 'v'), (f.variances, 'fixed_large'))]",
        "from fromnoise.app.cli import main\ntry:\n main(['--help'])\nexcept SystemExit as e: assert not e.code",
        "from fromnoise.app.cli import main\ntry:\n main(['train', '--help'])\nexcept SystemExit as e: assert not e.code",
        "from fromnoise.app.cli import main\ntry:\n main(['eval', '--help'])\nexcept SystemExit as e: assert not e.code",
    ],
)
def test_help_and_import_never_load_torch(code):
    probe = f"import sys\n{code}\nassert 'torch' not in sys.modules and 'pydantic' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_network_is_built_without_loading_the_compiler_of_torch():
    """Which takes as long as torch itself, and which `torch` loads to compute many a thing on the meta device."""
    probe = (
        "import sys, fromnoise as fn\n"
        "for name in ('digits', 'digits-dit', 'digits-vq', 'digits-kl', 'digits-class', 'digits-latent'):\n"
        "    fn.recipes.load(name).build()\n"
        "    assert 'torch._dynamo' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_resolves():
    import fromnoise as fn

    for name in dir(fn):
        assert getattr(fn, name) is not None
    with pytest.raises(AttributeError):
        fn.no_such_thing  # noqa: B018


@pytest.mark.parametrize(
    "registry",
    [
        "schedules",
        "spacings",
        "parameterizations",
        "variances",
        "samplers",
        "objectives",
        "times",
        "couplings",
        "train.optimizers",
        "nn",
        "data",
        "features",
        "metrics",
    ],
)
def test_every_entry_is_registered_under_its_files_name(registry):
    import fromnoise as fn

    package = operator.attrgetter(registry)(fn)
    assert package.names()
    for name in package.names():
        cls = package.get(name)
        assert cls.registered_name == name
        assert cls.__doc__
        assert package.registry.summary(name)
        assert getattr(package, cls.__name__) is cls


def test_unknown_names_name_the_nearest():
    import fromnoise as fn

    with pytest.raises(
        fn.FromNoiseError, match=r"unknown sampler 'dim' \(did you mean ddim\?\); choose from ancestral"
    ):
        fn.samplers.build("dim")
    with pytest.raises(fn.FromNoiseError, match=r"sampler ddim has no option 'etta' \(did you mean eta\?\)"):
        fn.samplers.build({"name": "ddim", "etta": 1})
    with pytest.raises(fn.FromNoiseError, match="eta"):
        fn.samplers.build({"name": "ddim", "eta": "much"})


def test_a_spec_builds_the_same_object():
    import fromnoise as fn
    from fromnoise.registry import spec

    for thing, package in [
        (fn.schedules.Cosine(T=77, s=0.01), fn.schedules),
        (fn.samplers.DDIM(eta=0.3), fn.samplers),
        (fn.parameterizations.EDM(data_std=0.3), fn.parameterizations),
        (fn.variances.LearnedRange(), fn.variances),
        (fn.spacings.LogSNR(), fn.spacings),
        (fn.nn.UNet(channels=8, groups=4, mult=(1, 2), attention=()), fn.nn),
    ]:
        again = package.build(spec(thing))
        assert type(again) is type(thing)
        assert spec(again) == spec(thing)
