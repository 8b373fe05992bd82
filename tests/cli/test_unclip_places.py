"""Where unCLIP's image-text model lies, whatever stands beside the run, and that a run goes on with its own alone."""

import pytest
import torch

import fromnoise as fn
from fromnoise import recipes
from fromnoise.app.runs.before import before
from fromnoise.app.runs.embedded import image_text_of
from fromnoise.data.embedded import Embedded, Embeddings
from fromnoise.data.examples import Tensors


@pytest.fixture
def beside(tmp_path):
    """A folder with a run that is called image-text, as `train emoji-image-text --out runs/image-text` leaves one."""
    (tmp_path / "image-text").mkdir()
    return tmp_path / "unclip"


def test_a_run_that_is_called_image_text_is_nobodys_but_its_own(beside):
    config = recipes.load("emoji-unclip")
    assert [name for name, _ in before(config, beside)] == ["image-text", "prior", "decoder"]
    beside.mkdir()
    assert image_text_of(beside) is None


def test_stages_share_the_one_of_their_run(beside):
    config = recipes.load("emoji-unclip")
    (beside / "image-text").mkdir(parents=True)
    (beside / "config.yaml").write_text("")
    for name in config.stages:
        assert before(config.stage(name), beside / name) == []
        assert image_text_of(beside / name) == beside / "image-text"
    assert image_text_of(beside) == beside / "image-text"


def test_the_model_that_is_trained_first_reads_words_as_the_run_does(tmp_path):
    words = {"name": "learned", "vocabulary": 300}
    config = recipes.load("emoji-unclip").with_changes({"text.encoder": words})
    _, first = before(config, tmp_path / "unclip")[0]
    assert first.text.encoder == words


@pytest.mark.parametrize("kind", [Embedded, Embeddings])
def test_embeddings_of_another_model_are_other_examples(kind):
    whole, table = Tensors(torch.zeros(2, 3)), torch.ones(2, 4)
    one, other = kind(whole, table, "one"), kind(whole, table, "other")
    assert len({one.content(), other.content(), kind(whole, table).content(), "x"}) == 4
    assert one.content() == kind(whole, 2 * table, "one").content()  # another machine's last bits


@pytest.mark.parametrize(("options", "told"), [({"image_embedding": 6}, "an embedding"), ({"numbers": ("guidance",)}, "guidance")])  # fmt: skip
def test_no_branch_beside_a_network_whose_conditions_it_leaves_out(options, told):
    network = fn.nn.UNet(channels=8, groups=4, mult=(1, 2), blocks=1, attention=(), **options)
    with pytest.raises(fn.FromNoiseError, match=f"takes {told}"):
        fn.compose.controlled(fn.Denoiser(network, "cosine", "v", shape=(3, 8, 8)))


@pytest.mark.parametrize("size", [0, -1, "a", 1.5])
def test_the_size_of_an_embedding_is_a_whole_number(size):
    with pytest.raises(fn.FromNoiseError, match="image_embedding must be a whole number of at least 1"):
        fn.nn.MLP(4, image_embedding=size)
