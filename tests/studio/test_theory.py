"""The theory pages: every chapter renders, names what exists, and draws what is true."""

import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("latex2mathml")

import fromnoise as fn
from fromnoise import verify
from fromnoise.app.studio import theory, works
from fromnoise.app.studio.bench import Bench
from fromnoise.app.studio.frames import pack, unpack
from fromnoise.app.studio.theory.controls import Choice
from fromnoise.app.studio.theory.identities import matches, named
from fromnoise.errors import FromNoiseError

NAMES = theory.names()
CHECKS = [(one.topic, one.name, one.source) for one in verify.checks()]


def asked(kind, **values):
    """The frames of a work, as the page unpacks them."""
    found = []
    works.build({"name": kind, **values}).compute(Bench(), {}, lambda h, a=None: found.append(unpack(pack(h, a))))
    return found


def drawn(name, **values):
    """(series of each chart by name: (x, y), facts)."""
    ((header, arrays),) = asked("theory-figure", figure=name, values=values)
    charts = [{one["name"]: (arrays[one["x"]], arrays[one["y"]]) for one in chart} for chart in header["charts"]]
    facts = {"".join(text for _, text in key): value for key, value in header["facts"]}
    return charts, facts


def texts(value):
    """Every piece of a chapter, wherever it is nested."""
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, tuple) and len(value) == 2 and value[0] in ("text", "math", "code"):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)


def test_the_contents_are_in_order():
    assert NAMES[0] == "forward"
    assert len(NAMES) == len(set(NAMES)) >= 12
    places = [theory.get(name).place for name in NAMES]
    assert places == list(range(1, len(NAMES) + 1))
    assert [one["name"] for one in theory.chapters()] == NAMES
    assert all(one["title"] and one["summary"].endswith(".") for one in theory.chapters())


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_renders(name):
    found = theory.chapter(name)
    assert 2 <= len(found["paragraphs"]) <= 3
    assert found["equations"]
    formulas = [one["mathml"] for one in found["equations"]]
    for kind, text in texts(found):
        if kind == "math":
            formulas.append(text)
        else:
            assert "$" not in text
            assert "\\" not in text
    for one in formulas:
        root = ElementTree.fromstring(one)
        assert root.tag == "{http://www.w3.org/1998/Math/MathML}math"
        assert {element.tag.split("}")[1] for element in root.iter()} <= {
            "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "msub", "msup", "msubsup", "mover",
            "munder", "munderover"}  # fmt: skip
        assert "\\" not in "".join(root.itertext())


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_cites_a_paper_by_its_number_and_a_text(name):
    sources = [one["source"] for one in theory.chapter(name)["equations"]]
    assert any(re.match(r"arXiv \d{4}\.\d{5}", source) for source in sources)
    for source in sources:
        assert re.match(r"arXiv \d{4}\.\d{5}|Sedykh|Friedman|Weng|Notes|Shorts", source), source


@pytest.mark.parametrize("name", NAMES)
def test_every_function_that_is_named_is_there(name):
    for equation in theory.get(name).equations:
        assert equation.code
        for path in equation.code:
            first, *rest = path.split(".")
            assert first == "fn"
            found = fn
            for part in rest:
                found = getattr(found, part)


def test_the_rows_are_those_of_verify():
    assert [(one.topic, one.name, one.source) for one in named()] == CHECKS


@pytest.mark.parametrize("name", NAMES)
def test_every_row_that_is_named_exists(name):
    for pattern in theory.get(name).rows:
        assert any(matches(topic, row, pattern) for topic, row, _ in CHECKS), pattern
    rows = theory.chapter(name)["rows"]
    assert rows
    assert all((row["topic"], row["name"], row["source"]) in CHECKS for row in rows)


def test_every_row_belongs_to_a_chapter():
    told = {(row["topic"], row["name"]) for name in NAMES for row in theory.chapter(name)["rows"]}
    assert [one for one in CHECKS if one[:2] not in told] == []


def ends(control):
    return list(control.options) if isinstance(control, Choice) else [control.low, control.high]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_answers_at_its_defaults_and_at_every_end(name):
    figure = theory.get(name).figure
    plain = {control.name: control.default for control in figure.controls}
    both = [{c.name: ends(c)[0] for c in figure.controls}, {c.name: ends(c)[-1] for c in figure.controls}]
    single = [{c.name: value} for c in figure.controls for value in ends(c)]
    for values in ({}, plain, *both, *single):
        ((header, arrays),) = asked("theory-figure", figure=name, values=values)
        assert len(header["charts"]) == len(figure.charts)
        for frame, chart in zip(figure.charts, header["charts"], strict=True):
            names = [one["name"] for one in chart]
            assert chart
            assert len(names) == len(set(names))
            for one in chart:
                x, y = arrays[one["x"]], arrays[one["y"]]
                assert x.shape == y.shape
                assert len(x)
                assert np.isfinite(x).all(), (values, one["name"])
                assert np.isfinite(y).all(), (values, one["name"])
                assert not frame.log_x or (x > 0).all(), (values, one["name"])
                assert not frame.log_y or (y > 0).all(), (values, one["name"])


def test_unknown_names_and_bad_values_are_refused_in_one_line():
    bad = [
        lambda: theory.chapter("forwrad"),
        lambda: theory.chapter("../web"),
        lambda: theory.chapter("base"),
        lambda: works.build({"name": "identities", "chapter": "nothing"}),
        lambda: asked("theory-figure", figure="nothing"),
        lambda: asked("theory-figure", figure="forward", values={"t": 1001}),
        lambda: asked("theory-figure", figure="forward", values={"t": "many"}),
        lambda: asked("theory-figure", figure="forward", values={"t": True}),
        lambda: asked("theory-figure", figure="forward", values={"t": None}),
        lambda: asked("theory-figure", figure="forward", values={"t": math.nan}),
        lambda: asked("theory-figure", figure="forward", values={"t": [1]}),
        lambda: asked("theory-figure", figure="forward", values={"schedule": "liner"}),
        lambda: asked("theory-figure", figure="forward", values={"schedule": ["linear"]}),
        lambda: asked("theory-figure", figure="forward", values={"time": 3}),
        lambda: asked("theory-figure", figure="forward", values=[1]),
    ]
    for one in bad:
        with pytest.raises(FromNoiseError) as caught:
            one()
        assert "\n" not in str(caught.value)


def test_the_server_reads_every_chapter_without_torch():
    code = (
        "import sys\nfrom fromnoise.app.studio import theory, works\n"
        "[theory.chapter(n) for n in theory.names()]\n"
        "works.build({'name': 'theory-figure', 'figure': 'bound', 'values': {'std': 1}})\n"
        "works.build({'name': 'identities', 'chapter': 'bound'})\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_forward_figure_is_the_density():
    charts, facts = drawn("forward", t=500, schedule="cosine")
    x, y = charts[0]["q(x_t), exact"]
    bar = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    truth = sum(
        w
        * np.exp(-((x - bar**0.5 * m) ** 2) / (2 * (bar * s * s + 1 - bar)))
        / (2 * np.pi * (bar * s * s + 1 - bar)) ** 0.5
        for w, m, s in ((0.35, -1.2, 0.3), (0.65, 1.0, 0.4))
    )
    assert np.abs(y - truth).max() < 1e-5
    assert abs(facts["log-SNR"] - math.log(bar / (1 - bar))) < 1e-9
    middles, counts = charts[0]["4,000 samples"]
    assert np.abs(counts - np.interp(middles, x, truth)).max() < 0.1


def test_the_posterior_figure_is_bayes():
    charts, _ = drawn("posterior")
    x, formula = charts[0]["q(x_s | x_t, x_0), formula"]
    at, bayes = charts[0]["Bayes' rule on a grid"]
    assert np.abs(np.interp(at, x, formula) - bayes).max() < 1e-4


def test_the_bound_with_the_best_variance_is_the_entropy():
    for std in (0.3, 1.5):
        _, facts = drawn("bound", std=std, steps=17)
        best = next(value for key, value in facts.items() if "v*" in key)
        beta = np.linspace(1e-4, 0.02, 1000)
        spread = np.prod(1 - beta) * (std**2 - 1) + 1
        exact = math.log(2 * math.pi * math.e * std**2) / 2 + (spread - 1 - math.log(spread)) / 2
        assert abs(best - exact) < 1e-9
        assert all(value >= best for key, value in facts.items() if key.startswith("bound"))


def test_the_best_fraction_tends_to_its_limit():
    charts, _ = drawn("variances", data="one Gaussian", std=1.0, steps=100)
    assert np.abs(charts[0]["v*, optimal"][1] - 1).max() < 1e-4
    charts, _ = drawn("variances", data="one Gaussian", std=0.5, steps=100)
    t, limit = charts[0]["limit of short steps"]
    bar = np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    inside = t < 990  # where beta is not clipped
    assert np.abs(limit - 0.25 / (0.25 * bar + 1 - bar))[inside].max() < 1e-3
    assert np.abs(charts[0]["v*, optimal"][1] - limit).max() < 0.06  # steps of 10


def test_deterministic_paths_from_one_noise_are_one():
    _, facts = drawn("ddim", eta=0, start="one noise for all")
    assert facts["standard deviation of the end points of these paths"] < 1e-9
    _, facts = drawn("ddim", eta=1, start="one noise for all")
    assert facts["standard deviation of the end points of these paths"] > 0.5


def test_samplers_have_the_slopes_that_they_declare():
    charts, facts = drawn("flow")
    for name in ("ddim", "heun", "dpm-solver", "unipc"):
        order = fn.samplers.get(name).order
        assert f"{name}, order {order}" in charts[1]
        assert abs(facts[f"slope of {name}"] - order) < 0.2


def test_guidance_draws_less_than_the_power():
    _, facts = drawn("guidance", scale=1)
    assert abs(facts["mean of the samples"] - 0.8) < 0.06
    assert abs(facts["variance of the samples"] - 0.49) < 0.06
    _, facts = drawn("guidance", scale=4)
    power = next(value for key, value in facts.items() if key.startswith("of <math"))
    assert facts["variance of the samples"] < 0.8 * power
    free, by_class = (drawn("guidance", way=way)[0][1]["guided"][1] for way in ("classifier-free", "classifier"))
    assert np.abs(free - by_class).max() < 1e-5


def test_codecs_and_cascades_lose_what_theory_says():
    charts, _ = drawn("latents")
    dropped, squared, distance = (
        charts[0][name][1] for name in ("dropped eigenvalues", "squared error", "Fréchet distance")
    )
    assert np.abs(dropped - squared).max() < 1e-5
    assert np.abs(dropped - distance).max() < 1e-5
    (x, y), (at, found) = charts[1]["tr K E Kᵀ"], charts[1]["drawn by exact stages"]
    assert np.abs(np.interp(at, x, y) - found).max() < 2e-3


def test_the_straightness_of_a_gaussian():
    charts, facts = drawn("straight", data="one Gaussian", std=0.7)
    straight, exact = (value for key, value in facts.items() if key.startswith(("straightness", "<math")))
    assert abs(exact - 0.7 * (2 - math.pi / 2)) < 1e-12
    assert abs(straight - exact) < 0.1
    t, floor = charts[2]["exact"]
    assert np.abs(floor - 0.49 / (0.49 * (1 - t) ** 2 + t**2)).max() < 1e-3


def test_the_map_of_a_student():
    charts, _ = drawn("students", steps=32, sampler="heun")
    _x, exact = charts[0]["f(x_t), exact"]
    assert (np.diff(exact) > 0).all()
    assert np.abs(charts[0]["32 steps of heun"][1] - exact).max() < 0.1
    _n, errors = charts[1]["teacher with heun"]
    assert 1.7 < math.log2(errors[-2] / errors[-1]) < 2.3


def test_identities_come_one_by_one():
    (start, _), *rows = asked("identities", chapter="variances")
    told = theory.chapter("variances")["rows"]
    assert start == {"kind": "start", "total": len(told)}
    assert [(row["topic"], row["name"]) for row, _ in rows] == [(one["topic"], one["name"]) for one in told]
    assert all(row["passed"] for row, _ in rows)
    assert [row["printed"] != row["practice"] for row, _ in rows if row["printed"] is not None] == [True]


def test_a_failing_identity_is_told_as_one(monkeypatch):
    broken = verify.Row("n", "s", math.nan, math.inf, math.inf, 1e-9, False, "scores", why="ValueError: no")
    monkeypatch.setattr(verify, "rows", lambda chosen: iter([broken]), raising=False)
    _, (row, _) = asked("identities", chapter="scores")
    assert row["passed"] is False
    assert (row["theory"], row["practice"], row["error"]) == ("nan", "inf", "inf")
    assert row["why"] == "ValueError: no"
