"""Our DiT, given the weights of diffusers' DiTTransformer2DModel, and the names of the paper's code."""

import pytest
import torch

import fromnoise as fn
from fromnoise.nn.dit import positions
from fromnoise.weights.dit import from_diffusers_dit, from_dit, to_diffusers_dit, to_dit

OPTIONS = {"in_channels": 4, "out_channels": 8, "depth": 2, "width": 32, "heads": 4, "classes": 10, "null_label": True}


def stirred(network):
    torch.manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network.eval()


@pytest.fixture(scope="module")
def theirs():
    diffusers = pytest.importorskip("diffusers", reason="the reference implementation is not installed")
    model = diffusers.DiTTransformer2DModel(num_attention_heads=4, attention_head_dim=8, in_channels=4, out_channels=8,
                                            num_layers=2, sample_size=12, num_embeds_ada_norm=10, norm_eps=1e-6)  # fmt: skip
    stirred(model)
    for block in model.transformer_blocks:  # as in every file: one embedding, stored once for each block
        block.norm1.emb.load_state_dict(model.transformer_blocks[0].norm1.emb.state_dict())
    return model


def test_diffusers(theirs):
    ours = fn.nn.DiT(**OPTIONS, time_endpoint=True).eval()
    ours.load_state_dict(from_diffusers_dit(theirs.state_dict()), strict=True)
    x, t, label = torch.randn(3, 4, 12, 12), torch.tensor([0, 7, 901]), torch.tensor([3, 0, 10])
    with torch.no_grad():
        expected, got = theirs(x, t, label).sample, ours(x, t.float(), label)
    assert expected.std() > 0.05
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def test_diffusers_there_and_back(theirs):
    state = theirs.state_dict()
    back = to_diffusers_dit(from_diffusers_dit(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_diffusers_places_are_ours(theirs):
    places = theirs.pos_embed.pos_embed
    torch.testing.assert_close(places[0], positions(6, 6, 32).float(), rtol=0, atol=1e-5)
    state = theirs.state_dict()
    assert from_diffusers_dit(state | {"pos_embed.pos_embed": places}).keys() == from_diffusers_dit(state).keys()
    with pytest.raises(fn.FromNoiseError, match="does not hold the sines and cosines"):
        from_diffusers_dit(state | {"pos_embed.pos_embed": places.flip(1)})


def test_blocks_that_are_told_different_things_are_refused(theirs):
    key = "transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight"
    state = theirs.state_dict()
    with pytest.raises(fn.FromNoiseError, match=r"transformer_blocks\.1\..*is not that of block 0"):
        from_diffusers_dit(state | {key: state[key] + 1})


def test_the_papers_names_there_and_back():
    network = stirred(fn.nn.DiT(**OPTIONS))
    theirs = to_dit(network.state_dict(), grid=6)
    assert set(theirs) == {"pos_embed", *(f"{layer}.{kind}" for kind in ("weight", "bias") for layer in (
        "x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2", "final_layer.linear", "final_layer.adaLN_modulation.1",
        *(f"blocks.{i}.{name}" for i in range(2)
          for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1")))),
        "y_embedder.embedding_table.weight"}  # fmt: skip
    assert theirs["pos_embed"].shape == (1, 36, 32)
    assert theirs["x_embedder.proj.weight"].shape == (32, 4, 2, 2)
    back = from_dit(theirs)
    assert back.keys() == network.state_dict().keys()
    assert all(torch.equal(back[key], value) for key, value in network.state_dict().items())
    # there the cosines of the time come first
    assert torch.equal(theirs["t_embedder.mlp.0.weight"][:, :128], network.time[0].weight[:, 128:])


def test_what_is_no_dit_is_refused():
    with pytest.raises(fn.FromNoiseError, match="'down.0.weight' is no parameter of a DiT"):
        from_dit({"down.0.weight": torch.zeros(1)})
    with pytest.raises(fn.FromNoiseError, match="pos_embed does not hold the sines and cosines"):
        from_dit({"pos_embed": torch.zeros(1, 35, 32)})
