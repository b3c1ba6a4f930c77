"""The contract of embedding networks, for every family."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segaware.nn import ColorEmbedding, Embedding, EmbeddingNet, FastEmbeddingNet, ReleasedEmbedding, load_embedding
from segaware.nn.bundled import BundledEmbedding
from segaware.training import save_weights

FAMILIES: dict[str, Callable[[], Embedding]] = {
    "fast": lambda: FastEmbeddingNet(0.125, dim=3),
    "vgg": lambda: EmbeddingNet(1 / 16, dim=3),
    "vgg and colours": lambda: EmbeddingNet(1 / 16, dim=3, color=True),
    "released": lambda: ReleasedEmbedding(1 / 16, dim=3),
    "color": ColorEmbedding,
}
LEARNED = [name for name in FAMILIES if name not in ("released", "color")]
SIZES = [(1, 1), (3, 5), (1, 12), (17, 22), (33, 48)]


def build(name: str, dtype: torch.dtype = torch.float32) -> Embedding:
    """Return a network in evaluation mode, whose layers all have something to say."""
    network = FAMILIES[name]()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.15)
    return network.eval().to(dtype)


@pytest.fixture(params=FAMILIES)
def network(request: pytest.FixtureRequest) -> Embedding:
    return build(request.param)


@pytest.mark.parametrize("size", SIZES)
def test_a_stride_takes_every_so_manyth_pixel(network: Embedding, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        whole = network(image)
        assert whole.shape == (2, network.dim, *size) and whole.isfinite().all()
        for stride in (1, 2, 3, 4, 6, 8, 16):
            torch.testing.assert_close(network(image, stride), whole[..., ::stride, ::stride], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_it_sees_no_further_than_it_says(name: str) -> None:
    network, side = build(name, torch.float64), 140
    image = torch.rand(1, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        before = network(image)
        for y, x in ((64, 64), (71, 71), (65, 66), (67, 70)):
            position = torch.tensor([y, x])
            for value, beyond in ((2.0, 0), (torch.nan, 3)):
                image_there = image.clone()
                image_there[..., y, x] = value
                after = network(image_there)
                changed = ~((after - before).abs().amax(1)[0] <= 1e-10)
                reach = (changed.nonzero() - position).abs().max()
                assert 0 <= reach <= network.receptive_radius + beyond < side // 2
                assert after.isnan().any(1)[0].sum() == (changed.sum() if beyond else 0)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_tiles_have_the_embedding_of_the_whole(network: Embedding, stride: int) -> None:
    step = network.max_stride * stride
    halo = -(-network.receptive_radius // step) * step
    image = torch.rand(1, 3, 2 * halo + 3 * step + 1, 2 * halo + 2 * step + 3)
    with torch.no_grad():
        whole = network(image, stride)
        top, left = halo + step, halo + step
        rows, columns = slice(top - halo, None), slice(left - halo, None)
        tile = network(image[..., rows, columns], stride)[..., halo // stride :, halo // stride :]
        torch.testing.assert_close(tile, whole[..., top // stride :, left // stride :], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        torch.rand(1, 1, 8, 8),
        torch.rand(1, 4, 8, 8),
        torch.rand(3, 8, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(1, 3, 8, 8, dtype=torch.int16),
    ],
)
def test_a_bad_image_is_named(network: Embedding, image: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^image must be floating-point RGB"):
        network(image)


@pytest.mark.parametrize("stride", [0, -2, 1.5, True, None])
def test_a_bad_stride_is_named(network: Embedding, stride: int) -> None:
    with pytest.raises(ValueError, match=r"^stride must be an int of at least 1, got "):
        network(torch.rand(1, 3, 8, 8), stride)


def test_copies_embed_the_same(network: Embedding) -> None:
    image = torch.rand(1, 3, 13, 18)
    with torch.no_grad():
        expected = network(image, 2)
        for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(other(image, 2), expected)
            assert (other.dim, other.receptive_radius, other.max_stride, other.config) == (
                network.dim,
                network.receptive_radius,
                network.max_stride,
                network.config,
            )
        channels_last = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        embedded = channels_last(image.to(memory_format=torch.channels_last), 2)
        torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(network: Embedding, dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 13, 18)
    with torch.no_grad():
        expected = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            assert (network(image) - expected).abs().mean() < 0.1 * expected.abs().mean()
        embedded = network.to(dtype)(image.to(dtype))
    assert embedded.dtype == dtype
    assert (embedded.float() - expected).abs().mean() < 0.1 * expected.abs().mean()


@pytest.mark.parametrize("stride", [1, 2])
def test_compiled_without_breaks_for_any_size(network: Embedding, stride: int) -> None:
    torch._dynamo.reset()  # the limit of recompilations counts those of other tests
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        for size in ((20, 26), (17, 23), (40, 31)):
            image = torch.rand(1, 3, *size)
            torch.testing.assert_close(compiled(image, stride), network(image, stride))


@pytest.mark.parametrize("name", LEARNED)
def test_every_parameter_gets_a_gradient_and_calibration_makes_distances_that_can_be_learned(name: str) -> None:
    network, image = FAMILIES[name](), torch.rand(2, 3, 40, 48)
    assert isinstance(network, BundledEmbedding)
    network.calibrate(image)
    embedding, scales = network.forward_scales(image)
    assert len(scales) == (3 if "vgg" in name else 0) and torch.equal(embedding, network(image))
    learned = embedding[:, -3:].flatten(2)
    assert 0.3 < (learned - learned.flip(2)).abs().sum(1).mean() < 4
    build(name)(image).square().mean().backward()
    network = build(name)
    network(image).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("name", LEARNED)
def test_a_file_says_its_family(name: str, tmp_path: Path) -> None:
    network, image = build(name), torch.rand(1, 3, 13, 18)
    assert isinstance(network, BundledEmbedding)
    network.save_pretrained(tmp_path / "folder")
    save_weights(tmp_path / "half.safetensors", copy.deepcopy(network).half(), {"recipe": "an embedding"})
    with torch.no_grad():
        for file, tolerance in (("folder/model.safetensors", 1e-5), ("half.safetensors", 0.05)):
            for loaded in (load_embedding(tmp_path / file), type(network).from_pretrained(tmp_path / file)):
                assert type(loaded) is type(network) and not loaded.training
                assert loaded.config_text() == network.config_text()
                assert {p.dtype for p in loaded.parameters()} == {torch.float32}
                torch.testing.assert_close(loaded(image), network(image), atol=tolerance, rtol=tolerance)
        folder = type(network).from_pretrained(tmp_path / "folder")
        torch.testing.assert_close(folder(image), network(image), atol=1e-5, rtol=1e-5)
    other = EmbeddingNet if isinstance(network, FastEmbeddingNet) else FastEmbeddingNet
    with pytest.raises(ValueError, match=rf"^embedding weights: .* is damaged, or not of class {other.__name__}: "):
        other.from_pretrained(tmp_path / "half.safetensors")


def test_weights_that_come_with_segaware() -> None:
    network = load_embedding("vgg")
    assert type(network) is EmbeddingNet and (network.dim, network.colors) == (67, 3)
    assert torch.equal(network.fuse.weight, EmbeddingNet.from_pretrained().fuse.weight)


def test_a_file_without_a_family_is_of_the_seven_layers(tmp_path: Path) -> None:
    network = build("vgg")
    save_file(network.state_dict(), tmp_path / "old.safetensors")
    old = load_embedding(tmp_path / "old.safetensors")
    assert type(old) is EmbeddingNet and torch.equal(old.conv1_1.weight, network.conv1_1.weight)  # type: ignore[arg-type]


def test_old_config_without_colours_gives_the_embedding_it_gave(tmp_path: Path) -> None:
    """One 1x1 convolution of the three scales, upsampled and concatenated, as before there was a stride."""
    network, image = build("vgg"), torch.rand(1, 3, 21, 26)
    assert isinstance(network, EmbeddingNet)
    config = '{"class": "EmbeddingNet", "width": 0.0625, "dim": 3}'
    save_file(network.state_dict(), tmp_path / "old.safetensors", {"config": config})
    loaded = load_embedding(tmp_path / "old.safetensors")
    with torch.no_grad():
        _, (first, *coarse) = network.forward_scales(image)
        scales = [nn.functional.pad(scale, (0, 1, 0, 1), mode="replicate") for scale in coarse]
        full = [
            nn.functional.interpolate(
                scale, [stride * (n - 1) + 1 for n in scale.shape[2:]], mode="bilinear", align_corners=True
            )[..., :21, :26]
            for stride, scale in zip((2, 4), scales, strict=True)
        ]
        torch.testing.assert_close(loaded(image), network.fuse(torch.cat([first, *full], 1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", ["{", "[]", '"fast"', '{"class": "DeepLabLargeFOV"}', '{"class": ["fast"]}'])
def test_a_file_of_no_embedding_network(config: str, tmp_path: Path) -> None:
    save_file(build("vgg").state_dict(), tmp_path / "net.safetensors", {"config": config})
    with pytest.raises(ValueError, match=r"^embedding weights: .*net\.safetensors"):
        load_embedding(tmp_path / "net.safetensors")


def test_a_file_that_is_missing_damaged_or_without_tensors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^embedding weights: no file none"):
        load_embedding("none")
    (tmp_path / "net.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"^embedding weights: .*net\.safetensors is damaged"):
        load_embedding(tmp_path / "net.safetensors")
    network = build("fast")
    assert isinstance(network, FastEmbeddingNet)
    tensors = network.state_dict()
    del tensors["heads.0.bias"]
    save_file(tensors, tmp_path / "net.safetensors", {"config": network.config_text()})
    with pytest.raises(ValueError, match=r"net\.safetensors is damaged, .*FastEmbeddingNet: .*heads\.0\.bias"):
        load_embedding(tmp_path / "net.safetensors")
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="does not say the arguments of its FastEmbeddingNet"):
        FastEmbeddingNet.from_pretrained(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0.001}, "^width must leave at least one channel"),
        ({"width": "half"}, "^width must leave"),
        ({"dim": 1.5}, "^dim must be"),
        ({"dim": 0}, "^dim must be"),
    ],
)
def test_a_bad_argument_of_the_fast_network_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FastEmbeddingNet(**arguments)  # type: ignore[arg-type]


def test_the_fast_network_is_small() -> None:
    assert sum(p.numel() for p in FastEmbeddingNet().parameters()) < 1e6
    assert FastEmbeddingNet().max_stride == 8
