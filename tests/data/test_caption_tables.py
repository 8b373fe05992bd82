"""Tables of captions: what one line says is of its image alone, and what cannot be read is named."""

import json

import pytest
from PIL import Image

import fromnoise as fn
from fromnoise.data.config import DataConfig
from fromnoise.data.loading import load


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        Image.new("RGB", (4, 4), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


def loaded(folder, *rows):
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return load(DataConfig(name=str(folder)))


def test_a_line_without_words_is_an_image_without_a_caption(folder):
    found = loaded(folder, {"file_name": "0.png", "text": "red"}, {"file_name": "1.png", "text": ""})
    assert list(found.captions) == ["red", "", ""]


def test_a_table_that_cannot_be_read_is_named_where_captions_are_needed(folder):
    found = loaded(folder, {"file_name": "0.png", "text": "red"}, {"file_name": "1.png"})
    with pytest.raises(fn.FromNoiseError, match="no captions that can be read: captions: .*line 2"):
        fn.data.Worded(found, fn.text.Learned(vocabulary=300, length=8))
