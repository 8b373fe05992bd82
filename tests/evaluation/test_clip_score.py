"""CLIP's score against transformers' own model, small and with random weights."""

import pytest
import torch

import fromnoise as fn
from fromnoise.app.evaluation import ClipScore

WORDS = ["[UNK]", "<s>", "</s>", "a", "red", "blue", "heart", "circle"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers", reason="the text extra is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    size = {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_attention_heads": 2,
        "projection_dim": 12,
    }
    config = transformers.CLIPConfig(
        text_config={**size, "vocab_size": 20, "max_position_embeddings": 80, "eos_token_id": 2},
        vision_config={**size, "image_size": 28, "patch_size": 14},
        projection_dim=12,
    )
    place = tmp_path_factory.mktemp("clip")
    transformers.CLIPModel(config).eval().save_pretrained(place)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.save(str(place / "tokenizer.json"))
    return place


def cosines(folder, pixels, texts):
    """Of transformers: each image and its text."""
    import transformers
    from tokenizers import Tokenizer

    model = transformers.CLIPModel.from_pretrained(folder).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))  # fmt: skip
    tokenizer, found = Tokenizer.from_file(str(folder / "tokenizer.json")), []
    for image, text in zip(pixels, texts, strict=True):
        with torch.no_grad():
            output = model(
                input_ids=torch.tensor([tokenizer.encode(text).ids]), pixel_values=((image / 255 - mean) / std)[None]
            )
        found.append((output.logits_per_image / model.logit_scale.exp()).item())
    return torch.tensor(found)


def test_the_score_is_the_mean_cosine_of_transformers_model(folder):
    pixels = torch.randint(0, 256, (6, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    texts = ["a red heart", "blue circle", "a red heart", "circle", "blue heart", "a"]
    clip, expected = ClipScore(folder), cosines(folder, pixels, texts)
    assert (expected > 0).any()
    assert (expected < 0).any()  # both kinds, so that the floor at 0 is seen
    assert clip.of(pixels, texts) == pytest.approx(100 * expected.clamp(min=0).mean().item(), abs=1e-3)
    assert clip.of(pixels[:1], texts[:1]) == pytest.approx(100 * max(0.0, expected[0].item()), abs=1e-3)
    assert len(clip.about["sha256"]) == 64


def test_a_clip_that_is_not_there_is_one_line(tmp_path):
    pytest.importorskip("transformers", reason="the text extra is not installed")
    with pytest.raises(fn.FromNoiseError, match="could not be loaded") as error:
        ClipScore(tmp_path)
    assert "\n" not in str(error.value)
