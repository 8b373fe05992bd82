"""Words: encoders, what networks make of them, captions of data, and text-conditional models."""

import json
import pickle
import warnings
from itertools import pairwise

import pytest
import torch

import fromnoise as fn
from fromnoise.data.images import InMemory
from fromnoise.data.worded import Worded
from fromnoise.nn.text import _byte_pairs
from fromnoise.system.disk import pretrained

CAPTIONS = ["a red heart", "a blue heart", "red circle", "large red circle", "broken heart", "Crème brûlée 🍮"]


def learned(**options):
    return fn.text.Learned(**{"vocabulary": 300, "length": 12} | options).fitted(CAPTIONS)


# byte pairs


def test_merges_are_the_most_frequent_pairs():
    """Of " aab" twice and " ab": (blank, a) and (a, b) are met three times, and the first is the smaller; then (a, b)
    twice, and " a" with "ab" too."""
    a, b, blank = (1 + ord(c) for c in "ab ")
    merges = _byte_pairs.learn(["aab aab", "ab"], 10)
    assert merges == [(blank, a), (a, b), (257, 258)]


def test_of_equals_the_smallest_pair_comes_first():
    first, second = (_byte_pairs.learn(texts, 1) for texts in (["cd cd ab ab"], ["ab ab cd cd"]))
    assert first == second == [(1 + ord(" "), 1 + ord("a"))]


def test_merges_are_those_of_counting_anew_every_time():
    """The counts are kept up to date from merge to merge; here they are taken from scratch."""
    spelled = [(_byte_pairs.as_bytes(word), n) for word, n in (("banana", 3), ("bandana", 2), ("anagram", 2))]
    texts = [" ".join(["banana"] * 3 + ["bandana"] * 2 + ["anagram"] * 2)]
    spelled = [(_byte_pairs.as_bytes(" ") + tokens, n) for tokens, n in spelled]
    wanted = []
    for number in range(257, 265):
        counts = {}
        for tokens, n in spelled:
            for pair in pairwise(tokens):
                counts[pair] = counts.get(pair, 0) + n
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        wanted.append(best)
        spelled = [(_byte_pairs.joined(tokens, best, number), n) for tokens, n in spelled]
    assert _byte_pairs.learn(texts, 8) == wanted


def _text(tokens, merges):
    """The text of token numbers."""
    parts = [bytes([i]) for i in range(256)]
    for left, right in merges:
        parts.append(parts[left - 1] + parts[right - 1])
    return b"".join(parts[token - 1] for token in tokens if token).decode()


@pytest.mark.parametrize("text", [*CAPTIONS, "words that no caption has", "日本 \u0301x"])
def test_tokens_spell_the_text(text):
    encoder = learned(length=64)
    row = encoder([text])[0]
    assert _text(row.tolist(), encoder.merges) == f" {text.lower()}"


def test_capital_letters_and_blanks_make_no_difference():
    encoder = learned()
    one, other = encoder(["A  red\nHeart", "a red heart"])
    assert torch.equal(one, other)
    assert not encoder([""]).any()


def test_a_text_that_is_too_long_is_cut_after_a_word_with_a_warning():
    encoder = learned(length=5)
    with pytest.warns(UserWarning, match=r"longer than the 5 tokens .* was cut after 'red circle'"):
        cut = encoder(["red circle something"])
    assert torch.equal(cut, encoder(["red circle"]))
    with pytest.warns(UserWarning, match="longer than the 1 tokens"):
        assert torch.equal(learned(length=1)(["red circle"]), learned(length=1)(["red"]))  # one token each
    with pytest.warns(UserWarning, match="and another was cut"):
        encoder(["red circle something", "another long something", "red circle"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(["red circle"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vocabulary": 100}, "vocabulary must be from 257"),
        ({"length": 0}, "length from 1 to"),
        ({"merges": ((1, 257),)}, "must join two tokens that come before it"),
        ({"vocabulary": 257, "merges": ((1, 2),)}, "do not fit into a vocabulary of 257"),
    ],
)
def test_wrong_options_of_the_learned_encoder(options, words):
    with pytest.raises(fn.FromNoiseError, match=words):
        fn.text.Learned(**options)


# frozen encoders: small ones of the same classes, made here


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{encoder: folder} of small transformers with random weights."""
    transformers = pytest.importorskip("transformers", reason="the text extra is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    words = ["[PAD]", "[UNK]", "<s>", "</s>", *["a", "red", "blue", "heart", "circle", "of", "large", "broken", "flag"]]
    torch.manual_seed(0)
    made = {
        "clip": transformers.CLIPTextModel(
            transformers.CLIPTextConfig(vocab_size=40, max_position_embeddings=20, eos_token_id=3, **sizes)
        ),
        "t5": transformers.T5EncoderModel(
            transformers.T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
        ),
        "sentence": transformers.BertModel(transformers.BertConfig(vocab_size=40, max_position_embeddings=20, **sizes)),
    }
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    found = {}
    for name, model in made.items():
        found[name] = tmp_path_factory.mktemp(name)
        model.eval().save_pretrained(found[name])
        tokenizer.save(str(found[name] / "tokenizer.json"))
    found["minilm"] = found["sentence"]
    return found


def frozen(folders, name, **options):
    return fn.text.build({"name": name, "model": str(folders[name]), "length": 8, **options})


FROZEN = [name for name in fn.text.names() if name != "learned"]


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_encoders_give_what_transformers_gives(folders, name):
    """Each text by itself, without padding, through the model that transformers itself opens."""
    from transformers import AutoModel, PreTrainedTokenizerFast

    encoder = frozen(folders, name)
    texts = ["a red heart", "", "large blue circle of a heart"]
    found = encoder(texts)
    assert found.shape == (3, 9, 32) == (3, 1 + encoder.options["length"], encoder.options["width"])
    assert not found[1].any()
    own = type(encoder._network).from_pretrained(folders[name])
    assert isinstance(own, type(AutoModel.from_pretrained(folders[name]))) or name in ("clip", "t5")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folders[name] / "tokenizer.json"))
    for i in (0, 2):
        ids = torch.tensor([tokenizer(texts[i])["input_ids"]])
        with torch.no_grad():
            output = own(input_ids=ids)
        states = output.last_hidden_state[0]
        n = len(states)
        torch.testing.assert_close(found[i, 1 : 1 + n], states, atol=1e-5, rtol=1e-5)
        assert not found[i, 1 + n :].any()
        whole = {"clip": states[-1], "t5": states.mean(0)}.get(name, states.mean(0) / states.mean(0).norm())
        torch.testing.assert_close(found[i, 0], whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FROZEN)
def test_long_texts_of_frozen_encoders_are_cut_where_the_warning_says(folders, name):
    encoder = frozen(folders, name, length=5)
    with pytest.warns(UserWarning, match="longer than the 5 tokens .* cut after 'a red heart'"):
        found = encoder(["a red heart of a circle"])
    assert torch.equal(found, encoder(["a red heart"]))


def test_minilm_is_what_sentence_transformers_computes():
    reason = "the text-small extra is not installed"
    SentenceTransformer = pytest.importorskip("sentence_transformers", reason=reason).SentenceTransformer
    encoder, texts = fn.text.MiniLM(length=16), ["a red heart", "face with tears of joy", "Zürich 🏳️‍🌈"]
    other = SentenceTransformer(str(encoder.folder), device="cpu")
    torch.testing.assert_close(encoder(texts)[:, 0], torch.tensor(other.encode(texts)), atol=1e-6, rtol=1e-5)


def test_nothing_is_printed_while_a_frozen_encoder_is_opened(folders, capfd):
    frozen(folders, "clip")(["a red heart"])
    assert capfd.readouterr() == ("", "")


def test_another_encoder_than_the_one_trained_with_is_refused(folders, tmp_path):
    fitted = frozen(folders, "t5").fitted(CAPTIONS)
    assert fitted.sha256 == pretrained.sha256(folders["t5"] / "model.safetensors")
    other = fn.text.T5(length=8, model=str(folders["t5"]), sha256="0" * 64)
    with pytest.raises(fn.FromNoiseError, match=r"not the text encoder that this model was trained with.*000000"):
        other(["a red heart"])
    with pytest.raises(fn.FromNoiseError, match="not the text encoder"):
        other.fitted(CAPTIONS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "nowhere"}, "nowhere: no such folder; a model on the hub is owner/name with commit="),
        ({"model": "owner/name"}, "no such folder; a model on the hub is owner/name with commit="),
        ({"length": 2}, "length must be from 3 to 65,536"),
    ],
)
def test_wrong_options_of_frozen_encoders(options, words):
    with pytest.raises(fn.FromNoiseError, match=words):
        fn.text.T5(**options)(["a"])


@pytest.mark.parametrize("spoiled", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_encoders_are_one_line(folders, tmp_path, spoiled):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folders["clip"] / name).read_bytes())
    encoder = fn.text.CLIPText(length=8, model=str(tmp_path))
    (tmp_path / spoiled).write_bytes(b"[1")
    with pytest.raises(fn.FromNoiseError, match=r"could not be loaded|config.json|tokenizer") as found:
        encoder(["a red heart"])
    assert "\n" not in str(found.value)


def test_code_of_others_is_refused(folders, tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folders["sentence"] / name).read_bytes())
    about = json.loads((tmp_path / "config.json").read_text()) | {"auto_map": {"AutoModel": "modeling.Trap"}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(fn.FromNoiseError, match="auto_map would choose the code that runs"):
        fn.text.Sentence(length=8, model=str(tmp_path))(["a red heart"])


def test_texts_that_are_none():
    with pytest.raises(fn.FromNoiseError, match="texts must be a list of strings"):
        learned()("a red heart")
    with pytest.raises(fn.FromNoiseError, match="texts must be a list of strings"):
        learned()([3])


# networks

TOKENS, EMBEDDINGS = {"width": 16, "length": 6, "vocabulary": 30}, {"width": 16, "length": 6}
NETWORKS = {
    "unet joint": (lambda text: fn.nn.UNet(in_channels=1, channels=16, mult=(1, 2), blocks=1, groups=4, text=text), (1, 8, 8)),
    "unet after": (
        lambda text: fn.nn.UNet(in_channels=1, channels=16, mult=(1, 2), blocks=1, groups=4, heads=2, text=text, text_attention="after"),
        (1, 8, 8),
    ),
    "dit": (lambda text: fn.nn.DiT(in_channels=1, depth=2, width=32, heads=4, text=text), (1, 8, 8)),
    "mlp": (lambda text: fn.nn.MLP(2, width=32, depth=2, text=text), (2,)),
}  # fmt: skip
networks = pytest.mark.parametrize("name", NETWORKS)
forms = pytest.mark.parametrize("text", [TOKENS, EMBEDDINGS], ids=["tokens", "embeddings"])


def network(name, text):
    """One whose outputs are no zeros."""
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    made = build(text)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return made, torch.randn(3, *shape), torch.tensor([3.0, 500.0, 900.0])


def said(text, lengths):
    """Texts of these numbers of tokens."""
    seen = torch.arange(text["length"]) < torch.tensor(lengths)[:, None]
    if "vocabulary" in text:
        return torch.randint(1, text["vocabulary"], seen.shape) * seen
    whole = (torch.tensor(lengths) > 0)[:, None]
    return torch.randn(len(lengths), 1 + text["length"], text["width"]) * torch.cat([whole, seen], 1)[:, :, None]


@networks
@forms
def test_no_text_is_the_empty_text(name, text):
    made, x, time = network(name, text)
    empty = said(text, [0, 0, 0])
    torch.testing.assert_close(made(x, time), made(x, time, text=empty), atol=0, rtol=0)
    assert torch.equal(made.null_cond["text"], empty[0])


@networks
@forms
def test_an_example_sees_its_own_text_alone(name, text):
    made, x, time = network(name, text)
    words = said(text, [3, 6, 1])
    whole = made(x, time, text=words)
    assert (whole - made(x, time)).flatten(1).abs().amax(1).min() > 1e-3
    for i in range(3):
        alone = made(x[i : i + 1], time[i : i + 1], text=words[i : i + 1])
        torch.testing.assert_close(whole[i : i + 1], alone, atol=1e-5, rtol=1e-4)


@networks
@forms
def test_padding_is_not_seen(name, text):
    made, x, time = network(name, text)
    words = said(text, [2, 3, 1])
    shorter = words[:, :3] if "vocabulary" in text else words[:, :4]
    torch.testing.assert_close(made(x, time, text=words), made(x, time, text=shorter), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["unet joint", "unet after", "dit"])
@forms
def test_every_token_is_seen_and_not_only_the_whole(name, text):
    """Its gradient reaches each row, and through the whole text's row alone nothing of a frozen encoder's tokens."""
    made, x, time = network(name, EMBEDDINGS)
    words = said(EMBEDDINGS, [3, 6, 1]).requires_grad_()
    made(x, time, text=words).square().sum().backward()
    seen = words.grad.abs().sum(2) > 0
    assert torch.equal(seen, (words.detach() != 0).any(2))


def test_joint_attention_is_softmax_over_places_and_words():
    """By hand, head by head: the keys and values of the words that there are stand beside those of all places."""
    from fromnoise.nn.layers import SelfAttention
    from fromnoise.nn.words import Words

    torch.manual_seed(0)
    layer, x = SelfAttention(8, 2, 4, 1e-6, words=6), torch.randn(2, 8, 3, 3)
    words = Words(torch.randn(2, 4, 6), torch.tensor([[True, True, True, False], [True, False, False, False]]))
    tokens = layer.norm(x).flatten(2).mT
    wanted = torch.zeros(2, 9, 8)
    for n in range(2):
        rows = words.rows[n][words.mask[n]]
        q, k, v = (part + bias for part, bias in zip((tokens[n] @ layer.qkv.weight.T).chunk(3, 1), layer.qkv.bias.chunk(3), strict=True))  # fmt: skip
        more = rows @ layer.kv.weight.T + layer.kv.bias
        k, v = torch.cat([k, more[:, :8]]), torch.cat([v, more[:, 8:]])
        for head in (slice(0, 4), slice(4, 8)):
            wanted[n, :, head] = torch.softmax(q[:, head] @ k[:, head].T / 2, 1) @ v[:, head]  # sqrt(4) = 2
    wanted = x + (wanted @ layer.out.weight.T + layer.out.bias).mT.reshape(2, 8, 3, 3)
    torch.testing.assert_close(layer(x, words), wanted, atol=1e-5, rtol=1e-5)


def test_the_attention_of_latent_diffusion_is_that_of_diffusers():
    """The same weights in their transformer block, which is given no padding."""
    diffusers = pytest.importorskip("diffusers", reason="the interop extra is not installed")
    from fromnoise.nn.spatial_transformer import SpatialTransformer
    from fromnoise.nn.words import Words

    torch.manual_seed(0)
    theirs = diffusers.models.Transformer2DModel(num_attention_heads=2, attention_head_dim=4, in_channels=8,
                                                 norm_num_groups=4, cross_attention_dim=6).eval()  # fmt: skip
    ours, state = SpatialTransformer(8, 2, 4, 1e-6, 6), theirs.state_dict()
    block = {name.removeprefix("transformer_blocks.0."): value for name, value in state.items()}
    named = {"norm": "norm", "out": "proj_out", "stem": "proj_in", "mix": "attn1.to_out.0", "cross.q": "attn2.to_q",
             "cross.out": "attn2.to_out.0", "inner": "ff.net.0.proj", "outer": "ff.net.2",
             **{f"norms.{i}": f"norm{i + 1}" for i in range(3)}}  # fmt: skip
    made = {f"{own}.{kind}": block[f"{name}.{kind}"] for own, name in named.items()
            for kind in ("weight", "bias") if f"{name}.{kind}" in block}  # fmt: skip
    made |= {name: value.flatten(1) for name, value in made.items() if value.dim() == 4}  # their 1x1 convolutions
    made["qkv.weight"] = torch.cat([block[f"attn1.to_{part}.weight"] for part in "qkv"])
    made["cross.kv.weight"] = torch.cat([block[f"attn2.to_{part}.weight"] for part in "kv"])
    ours.load_state_dict(made)
    x, rows = torch.randn(2, 8, 3, 3), torch.randn(2, 5, 6)
    with torch.no_grad():
        wanted = theirs(x, encoder_hidden_states=rows).sample
        torch.testing.assert_close(
            ours(x, Words(rows, torch.ones(2, 5, dtype=torch.bool))), wanted, atol=1e-5, rtol=1e-5
        )


def test_a_fresh_attention_to_words_changes_nothing_in_a_dit():
    """Its last layer is zero, so that the same network without it says the same."""
    made, x, time = network("dit", TOKENS)
    plain = fn.nn.DiT(in_channels=1, depth=2, width=32, heads=4)
    with torch.no_grad():
        for part in (*[block.cross.out for block in made.blocks], made.whole_text):
            part.weight.zero_()
            part.bias.zero_()
    plain.load_state_dict({name: value for name, value in made.state_dict().items() if name in plain.state_dict()})
    torch.testing.assert_close(made(x, time, text=said(TOKENS, [3, 6, 1])), plain(x, time), atol=1e-6, rtol=1e-5)


def test_no_text_of_a_frozen_encoder_is_a_learned_row():
    """Its gradient is there for an empty text and not for others, whose first row is their own."""
    made, x, time = network("mlp", EMBEDDINGS)
    for lengths, learns in (([0, 0, 0], True), ([3, 1, 2], False)):
        made.zero_grad()
        made(x, time, text=said(EMBEDDINGS, lengths)).square().sum().backward()
        assert bool(made.text.whole.grad.abs().max() > 0) == learns


@pytest.mark.parametrize("name", NETWORKS)
def test_the_reader_is_trained_with_the_network(name):
    made, x, time = network(name, TOKENS)
    made(x, time, text=said(TOKENS, [3, 6, 1])).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in made.text.parameters())


@networks
def test_a_fresh_network_says_nothing(name):
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    assert not build(TOKENS)(torch.randn(2, *shape), torch.ones(2), text=said(TOKENS, [2, 3])).any()


def test_latent_diffusions_text_to_image_network_has_its_published_count():
    """872,300,484: that of Stable Diffusion 1, 859,520,964, with keys and values of 1280 in place of 768."""
    with torch.device("meta"):
        made = fn.nn.UNet(in_channels=4, channels=320, mult=(1, 2, 4, 4), blocks=2, attention=(1, 2, 4), heads=8,
                          resample="centered", text={"width": 768, "length": 77}, text_attention="after")  # fmt: skip
    reader = [*made.text.parameters(), *made.whole_text.parameters()]
    assert sum(p.numel() for p in made.parameters()) - sum(p.numel() for p in reader) == 859_520_964


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ({"width": 16}, "text: length missing"),
        ({"width": 16, "length": 4, "vocabulry": 9}, r"no option .vocabulry. \(did you mean vocabulary\?\)"),
        ({"width": 16, "length": 4, "heads": 3}, "the heads divide the width"),
    ],
)
def test_wrong_options_of_text(text, words):
    with pytest.raises(fn.FromNoiseError, match=words):
        fn.nn.MLP(2, text=text)


def test_conditions_that_are_no_text():
    made, x, time = network("mlp", TOKENS)
    with pytest.raises(fn.FromNoiseError, match=r"text must be token numbers \[N, L\], L at most 6"):
        made(x, time, text=torch.ones(3, 7, dtype=torch.long))
    made, x, time = network("mlp", EMBEDDINGS)
    with pytest.raises(fn.FromNoiseError, match=r"text must be embeddings \[N, 1 \+ L, 16\]"):
        made(x, time, text=torch.ones(3, 7, 8))
    plain = fn.nn.MLP(2)
    with pytest.raises(fn.FromNoiseError, match="this network takes no text"):
        plain(x, time, text=torch.ones(3, 7, dtype=torch.long))


# captions


def images(captions=CAPTIONS):
    pixels = torch.arange(len(captions) * 64, dtype=torch.uint8).view(-1, 1, 8, 8)
    return InMemory("pictures", pixels, captions=captions)


def test_captions_become_the_condition():
    worded = Worded(images(), fn.text.Learned(vocabulary=300, length=12))
    x, conditions = worded.examples([4, 0])
    assert torch.equal(x, images().pixels[[4, 0]])
    assert torch.equal(conditions["text"], learned()(["broken heart", "a red heart"]))
    assert worded.encoder.merges == learned().merges


def test_images_without_captions_are_counted_and_learned_without():
    worded = Worded(images(["a red heart", "", "", "red"]), learned())
    assert worded.notes == ["2 of 4 images have no caption: they are learned without text"]
    assert not worded.examples([1])[1]["text"].any()
    with pytest.raises(fn.FromNoiseError, match=r"pictures has no captions: put NAME.txt beside each image"):
        Worded(images(["", ""]), learned())
    with pytest.raises(fn.FromNoiseError, match="pictures has no captions"):
        Worded(images(()), learned())


def test_embeddings_are_kept_by_content(folders, monkeypatch):
    calls = []
    encoder, other = frozen(folders, "t5"), frozen(folders, "sentence")
    monkeypatch.setattr(type(encoder), "encoded", lambda self, texts: calls.append(list(texts)) or _plain(self, texts))
    for _ in range(2):
        worded = Worded(images(), encoder)
        torch.testing.assert_close(worded.examples([4])[1]["text"], _plain(encoder, ["broken heart"]))
    assert [call for call in calls if len(call) > 1] == [[text.strip() for text in CAPTIONS]]
    third = Worded(images(), other).examples([4])[1]["text"]
    torch.testing.assert_close(third, other(["broken heart"]))


def _plain(encoder, texts):
    return super(type(encoder), encoder).encoded(texts)


def test_what_decides_the_examples_decides_their_content():
    one = Worded(images(), learned()).content()
    assert one == Worded(images(), learned()).content()
    assert one != Worded(images([*CAPTIONS[:-1], "else"]), learned()).content()
    assert one != Worded(images(), learned(length=11)).content()


# models


def model(encoder=None, **options):
    torch.manual_seed(0)
    encoder = encoder or learned()
    made = fn.nn.MLP(2, width=32, depth=2, text={"width": 16} | encoder.options)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return fn.Denoiser(made, fn.schedules.Cosine(), "v", shape=(2,), text=encoder, **options)


def test_words_are_conditions_wherever_conditions_are_taken():
    denoiser = model()
    x, encoded = torch.randn(2, 2), denoiser.text(["a red heart", "circle"])
    by_words = denoiser(x, 500.0, {"text": ["a red heart", "circle"]}).x0
    assert torch.equal(by_words, denoiser(x, 500.0, {"text": encoded}).x0)
    assert torch.equal(denoiser(x, 500.0, {"text": "circle"}).x0, denoiser(x, 500.0, {"text": encoded[1:].expand(2, -1)}).x0)  # fmt: skip
    drawn = fn.sample(denoiser, 4, steps=3, cond={"text": "a red heart"})
    assert torch.equal(drawn, fn.sample(denoiser, 4, steps=3, cond={"text": encoded[:1].expand(4, -1)}))
    assert not torch.equal(drawn, fn.sample(denoiser, 4, steps=3))


def test_words_that_do_not_fit_the_model():
    with pytest.raises(fn.FromNoiseError, match="has 3 texts for 2 examples"):
        fn.sample(model(), 2, steps=2, cond={"text": ["a", "b", "c"]})
    plain = fn.Denoiser(fn.nn.MLP(2), fn.schedules.Cosine(), shape=(2,))
    with pytest.raises(fn.FromNoiseError, match="this model has no text encoder"):
        fn.sample(plain, 2, steps=2, cond={"text": "a red heart"})


def test_a_model_is_saved_with_its_words(tmp_path):
    denoiser = model()
    fn.save(denoiser, tmp_path / "model")
    loaded = fn.load(tmp_path / "model")
    assert loaded.text == denoiser.text
    cond = {"text": ["a red heart", "words that no caption has"]}
    assert torch.equal(fn.sample(loaded, 2, steps=3, cond=cond), fn.sample(denoiser, 2, steps=3, cond=cond))


def test_a_saved_model_insists_on_its_frozen_encoder(folders, tmp_path):
    denoiser = model(frozen(folders, "t5").fitted(CAPTIONS))
    fn.save(denoiser, tmp_path / "model")
    about = json.loads((tmp_path / "model/denoiser.json").read_text())
    assert about["text"]["sha256"] == pretrained.sha256(folders["t5"] / "model.safetensors")
    fn.sample(fn.load(tmp_path / "model"), 2, steps=2, cond={"text": "a red heart"})
    other = fn.text.build(about["text"] | {"model": str(folders["sentence"])})
    with pytest.raises(fn.FromNoiseError, match="not the text encoder"):
        other(["a red heart"])


def test_guidance_moves_away_from_no_text_or_from_the_negative():
    """F_null + g (F_text - F_null), with the null of no text, or the negative's words in its place."""
    denoiser = model()
    x, t, cond = torch.randn(2, 2), denoiser.schedule.level(500), {"text": "a red heart"}
    wanted = denoiser(x, t, cond).output
    for negative, lesser in ((None, denoiser(x, t).output), ("circle", denoiser(x, t, {"text": "circle"}).output)):
        guided = fn.guidance.steer(denoiser, 3.0, negative=negative)(x, t, cond).output
        torch.testing.assert_close(guided, lesser + 3 * (wanted - lesser), atol=1e-5, rtol=1e-4)
    with pytest.raises(fn.FromNoiseError, match="give guidance a scale other than 1"):
        fn.guidance.steer(denoiser, 1.0, negative="circle")
    labelled = fn.Denoiser(fn.nn.MLP(2, classes=2, null_label=True), fn.schedules.Cosine(), shape=(2,))
    with pytest.raises(fn.FromNoiseError, match="negative: this model has no text conditioning"):
        fn.guidance.steer(labelled, 3.0, negative="circle")


def test_words_tell_the_parts_of_a_mixture_apart():
    """Points of two blobs, each with its word: after training a word draws its own blob, and no word draws both."""
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(0, 2, (512,), generator=generator)
    x = 0.1 * torch.randn(512, 2, generator=generator) + torch.where(which == 0, -0.6, 0.6)[:, None]
    encoder = fn.text.Learned(vocabulary=300, length=6).fitted(["left", "right"])
    text = encoder(["left", "right"])[which]
    torch.manual_seed(0)
    network = fn.nn.MLP(2, width=64, depth=2, text={"width": 16} | encoder.options)
    denoiser = fn.Denoiser(network, fn.schedules.Cosine(), "v", shape=(2,), text=encoder)
    fn.fit(denoiser, (x, {"text": text}), steps=400, batch_size=128, lr=3e-3, ema=0.98,
           condition_dropout={"text": 0.2}, progress=False)  # fmt: skip
    left, right = (fn.sample(denoiser, 200, steps=10, cond={"text": word})[:, 0] for word in ("left", "right"))
    assert ((left < 0).float().mean() > 0.97, (right > 0).float().mean() > 0.97) == (True, True)
    assert 0.3 < (fn.sample(denoiser, 200, steps=10)[:, 0] < 0).float().mean() < 0.7


def test_an_attention_that_there_is_not_is_named():
    with pytest.raises(fn.FromNoiseError, match="text_attention must be joint or after, got 'befor'"):
        fn.nn.UNet(channels=8, mult=(1,), groups=4, text={"width": 8, "length": 2}, text_attention="befor")


# images and words compared


def image_text(encoder=None, schedule=None):
    torch.manual_seed(0)
    encoder = encoder or learned()
    network = fn.nn.ImageTextNetwork(
        {"width": 16} | encoder.options, outputs=8, in_channels=1, channels=16, mult=(1, 2), groups=4
    )
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return fn.guidance.ImageText(network, schedule or fn.schedules.Cosine(), (1, 8, 8), encoder)


def test_the_contrastive_loss_is_that_of_its_definition():
    s = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i, found in enumerate(fn.guidance.contrastive(s).tolist()):
        row, column = s[i].exp() / s[i].exp().sum(), s[:, i].exp() / s[:, i].exp().sum()
        assert found == pytest.approx(-(row[i].log() + column[i].log()).item() / 2)


def test_similarities_are_of_unit_vectors():
    model = image_text()
    x, t = torch.randn(3, 1, 8, 8), model.schedule.level(300)
    found = model(x, t, ["a red heart", "circle"])
    assert found.shape == (3, 2)
    for vectors in (model.of_states(x, t), model.of_texts(["a red heart", "circle"])):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
    assert found.abs().max() <= model.network.scale
    own = model.log_prob(x, t, {"text": model.text(["circle"] * 3)})
    torch.testing.assert_close(own, found[:, 1], atol=1e-5, rtol=1e-5)


def test_an_image_text_model_is_saved_and_steers_a_model_without_words(tmp_path):
    from fromnoise.weights import guides

    model = image_text()
    fn.save(model, tmp_path / "model")
    loaded = guides.load_guide(tmp_path / "model")
    x, t = torch.randn(2, 1, 8, 8), model.schedule.level(300)
    assert torch.equal(loaded(x, t, ["circle"]), model(x, t, ["circle"]))
    plain = fn.Denoiser(
        fn.nn.UNet(in_channels=1, channels=16, mult=(1, 2), blocks=1, groups=4), "cosine", shape=(1, 8, 8)
    )
    steered = fn.guidance.steer(plain, classifier=loaded, classifier_scale=2.0)
    guided = steered(x, t, {"text": ["circle", "a red heart"]})
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(loaded.log_prob(x, t, {"text": loaded.text(["circle", "a red heart"])}).sum(), x)
    torch.testing.assert_close(guided.eps, plain(x, t).eps - 2 * float(t.sigma) * slope, atol=1e-5, rtol=1e-4)
    drawn = [fn.sample(steered, 2, steps=3, cond={"text": word}) for word in ("circle", "a red heart")]
    assert not torch.equal(*drawn)


def test_what_an_image_text_model_cannot_steer():
    model = image_text()
    network = fn.nn.UNet(in_channels=1, channels=16, mult=(1, 2), blocks=1, groups=4)
    with pytest.raises(fn.FromNoiseError, match=r"takes states \[1, 8, 8\], but the model draws \[1, 16, 16\]"):
        fn.guidance.steer(fn.Denoiser(network, "cosine", shape=(1, 16, 16)), classifier=model)
    with pytest.raises(fn.FromNoiseError, match="the image-text model knows the levels of"):
        fn.guidance.steer(fn.Denoiser(network, "linear", shape=(1, 8, 8)), classifier=model)
    other = fn.Denoiser(network, "cosine", shape=(1, 8, 8), text=learned(length=7))
    with pytest.raises(fn.FromNoiseError, match="have different text encoders"):
        fn.guidance.steer(other, classifier=model)
    steered = fn.guidance.steer(fn.Denoiser(network, "cosine", shape=(1, 8, 8)), classifier=model)
    with pytest.raises(fn.FromNoiseError, match="steers towards a text: give one"):
        fn.sample(steered, 2, steps=2)
    with pytest.raises(fn.FromNoiseError, match="network must be an ImageTextNetwork"):
        fn.guidance.ImageText(network, fn.schedules.Cosine(), (1, 8, 8), learned())


def test_contrasting_learns_which_caption_is_an_images():
    """Four kinds of squares with a word each, at every level: chance is a quarter."""
    generator = torch.Generator().manual_seed(0)
    words, which = ["one", "two", "three", "four"], torch.randint(0, 4, (256,), generator=generator)
    x = torch.full((256, 1, 8, 8), -1.0)
    for i, k in enumerate(which.tolist()):
        x[i, 0, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] = 1.0
    encoder = fn.text.Learned(vocabulary=300, length=6).fitted(words)
    model = image_text(encoder)
    task = fn.train.Contrasting(model, seed=0)
    fitted = fn.fit(task, (x, {"text": encoder([words[k] for k in which])}), steps=150, batch_size=32, lr=3e-3, ema=0.9, progress=False)  # fmt: skip
    assert fitted.model is model
    found = model(x[:64], model.schedule.level(50), words).argmax(1)
    assert (found == which[:64]).float().mean() > 0.95
    with pytest.raises(fn.FromNoiseError, match="batch_size: an image-text model compares"):
        fn.fit(task, (x, {"text": encoder(["one"] * 256)}), steps=1, batch_size=1, progress=False)
    with pytest.raises(fn.FromNoiseError, match="learns from captions"):
        fn.fit(task, x, steps=1, batch_size=4, progress=False)


# what does not belong together, and what is no text


@pytest.mark.parametrize("text", ["\ud800", "a \udcff heart"])
def test_half_a_character_is_a_question_mark(text):
    """JSON can hold one, and so does a word of the command line whose bytes are no UTF-8."""
    encoder = fn.text.Learned().fitted([text, *CAPTIONS])
    assert torch.equal(encoder([text]), encoder(["".join("?" if "\ud800" <= c < "\ue000" else c for c in text)]))
    assert Worded(images([text, "b"]), encoder).content()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vocabulary": 300.5}, "vocabulary must be a whole number"),
        ({"length": 10**9}, "length from 1 to 65536"),
        ({"merges": ((1, 2, 3),)}, "merges must be a tuple of pairs"),
        ({"merges": [[1, 2]]}, "merges must be a tuple of pairs"),
    ],
)
def test_options_of_another_kind(options, words):
    with pytest.raises(fn.FromNoiseError, match=words):
        fn.text.Learned(**options)


@pytest.mark.parametrize("texts", [None, "a", (text for text in CAPTIONS), [b"a"], ["a", None]])
def test_texts_are_a_list_of_words(texts):
    """Of a generator nothing was left after the first look, and no text was encoded."""
    with pytest.raises(fn.FromNoiseError, match="texts must be a list of strings"):
        learned()(texts)


@pytest.mark.parametrize(
    ("captions", "encoder", "words"),
    [
        (["a", None, "b"], learned(), r"captions must be a list of strings, .*\[1\] is None"),
        ("abc", learned(), "captions must be a list of strings"),
        (["a", "b", "c", "d"], learned(), "6 examples and 4 captions"),
        (CAPTIONS, "learned", "encoder must be a TextEncoder"),
    ],
)
def test_captions_that_are_none(captions, encoder, words):
    with pytest.raises(fn.FromNoiseError, match=words):
        Worded(images(), encoder, captions)


def test_an_encoder_that_has_learned_keeps_what_its_tokens_mean():
    encoder = learned()
    assert Worded(images(["zebra zebra"] * 6), encoder).encoder == encoder


def test_a_copy_of_an_encoder_in_another_process_takes_its_options_alone():
    encoder = learned()
    encoder(CAPTIONS)
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy == encoder
    assert vars(copy).keys() == {"vocabulary", "length", "merges"}


def test_token_numbers_are_those_of_the_vocabulary():
    for wrong in (300, -1):
        with pytest.raises(fn.FromNoiseError, match=f"token numbers in 0..299, got {wrong}"):
            fn.sample(model(), 2, steps=1, cond={"text": torch.full((2, 12), wrong)})
    with pytest.raises(fn.FromNoiseError, match="text must be token numbers"):
        fn.sample(model(), 2, steps=1, cond={"text": torch.zeros(2, 12, dtype=torch.bool)})


@pytest.mark.parametrize("text", [{}, {"width": 16, "length": 4, "vocabulary": 0}, {"width": 16.5, "length": 4}])
def test_a_network_does_not_take_a_wrong_text_for_none(text):
    with pytest.raises(fn.FromNoiseError, match="text: "):
        fn.nn.MLP(2, text=text)


def test_a_model_learns_from_captions_as_it_reads_them():
    """Token numbers of two encoders mean other words, and fit as to their shape."""
    other = fn.text.Learned(vocabulary=300, length=12).fitted(["zebra zebra"])
    points = fn.data.examples.Tensors(torch.zeros(6, 2))
    words, options = Worded(points, learned(), CAPTIONS), {"steps": 1, "batch_size": 2}
    with pytest.raises(fn.FromNoiseError, match="encoded by another encoder than the model's"):
        fn.fit(model(other), words, **options)
    with pytest.raises(fn.FromNoiseError, match="these have different text encoders"):
        fn.guidance.steer(model(), 2.0, weaker=model(other))
    with pytest.raises(fn.FromNoiseError, match="teacher: has another text encoder"):
        fn.fit(model(), words, objective=fn.distill.ConsistencyDistillation(model(other)), **options)
    without = model()
    without.text = None
    assert fn.fit(without, words, **options).model.text == words.encoder
    with pytest.raises(fn.FromNoiseError, match="text must be a TextEncoder"):
        fn.Denoiser(without.network, "cosine", "v", text="learned")


def test_words_without_an_encoder_are_refused_with_the_way_out():
    data = (torch.zeros(2, 2), {"text": ["a", "b"]})
    with pytest.raises(fn.FromNoiseError, match=r"fn\.data\.Worded"):
        fn.fit(model(), data, steps=1, batch_size=2)


@networks
def test_a_network_that_reads_words_is_exported(name, tmp_path):
    """It counted its examples in a way that a graph fixes."""
    made, x, _ = network(name, TOKENS)
    denoiser = fn.Denoiser(made, "cosine", "v", shape=tuple(x.shape[1:]), text=learned())
    fn.export(denoiser, tmp_path / "graph", to="torch-export", steps=2)


def test_a_recipe_hides_the_share_of_captions_that_it_says():
    """3 of 10 at random; the rest as they are."""
    recipe = fn.recipes.load("emoji-text").with_changes(
        {"network.channels": 8, "network.groups": 4, "network.blocks": 1, "data.size": 16, "text.dropout": 0.3,
         "text.encoder": {"name": "learned", "length": 24}}
    )  # fmt: skip
    pixels = torch.zeros(100, 3, 16, 16, dtype=torch.uint8)
    source = Worded(InMemory("many", pixels, captions=["a red heart"] * 100), fn.text.Learned(length=24))
    conditioning = recipe.task(source).conditioning
    text = source.examples(range(100))[1]["text"]
    hidden = sum(100 - conditioning.of({"text": text}, range(100), step)["text"].any(1).sum().item() for step in range(1, 21))  # fmt: skip
    assert 0.25 < hidden / 2000 < 0.35


def test_a_network_without_text_refuses_captions_in_training():
    plain = fn.Denoiser(fn.nn.MLP(2), "cosine", shape=(2,))
    data = (torch.randn(4, 2), {"text": learned()(["a red heart"] * 4)})
    with pytest.raises(fn.FromNoiseError, match="data has the condition 'text'"):
        fn.fit(plain, data, steps=1, batch_size=2, progress=False)


def test_no_text_is_never_longer_than_an_encoder_makes_it():
    """Its rows are no weights: a file may say any number of them."""
    with pytest.raises(fn.FromNoiseError, match="length must be at most 65,536"):
        fn.nn.UNet(channels=8, groups=4, mult=(1, 2), attention=(), text={"width": 8, "length": 10**9})
    with pytest.raises(fn.FromNoiseError, match="length must be from 3 to 65,536"):
        fn.text.MiniLM(length=10**9)
