"""The table and the figure of straightness: of models whose paths are known."""

import pytest
import torch
from PIL import Image
from test_paths import Monotone, normal

import fromnoise as fn
from fromnoise.app.runs import Model

STRAIGHT = fn.schedules.Rectified()


def of(denoiser):
    return Model(denoiser, None, "", None, None, False, "fp32")


def test_the_table_says_what_paths_measures():
    found = fn.evaluation.straightness(of(normal(0.5).denoiser(STRAIGHT)), 30, (20, 5))
    assert [len(one.taus) for one in found] == [5, 20]
    assert found[1].straightness == fn.paths.measure(normal(0.5).denoiser(STRAIGHT), 30, steps=20).straightness
    table = fn.evaluation.paths_as_markdown(found)
    assert f"| 20 | 59 | {found[1].straightness:.4f} | {found[1].curvature:.4f} |" in table
    rows = [row.split(",") for row in fn.evaluation.paths_as_csv(found).splitlines()[1:]]
    assert [float(row[1]) for row in rows[:5]] == [1, 0.8, 0.6, 0.4, 0.2]
    assert [float(row[2]) for row in rows[5:]] == pytest.approx(found[1].deviation.tolist(), rel=1e-5)


def test_a_straight_model_has_none():
    student = fn.Denoiser(Monotone(0.3, 0.5), STRAIGHT, "flow", shape=(2,))
    assert "| 10 | 29 | 0.0000 |" in fn.evaluation.paths_as_markdown(fn.evaluation.straightness(of(student), 10, (10,)))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_figure(dim, tmp_path):
    pytest.importorskip("matplotlib", reason="the figures extra is not installed")
    found = fn.evaluation.straightness(of(normal(0.5, dim=dim).denoiser(STRAIGHT)), 9)
    fn.figures.straightness(found, tmp_path / "paths.png")
    with Image.open(tmp_path / "paths.png") as picture:
        assert picture.width > 800


def test_the_element_that_is_drawn_differs_most():
    from fromnoise.app.figures import _most_varied

    paths = torch.zeros(4, 3, 5)
    paths[-1, :, 2] = torch.tensor([1.0, -1.0, 0.0])
    paths[0, :, 1] = 10.0
    assert torch.equal(_most_varied(paths), paths[..., 2])
