"""`segaware.refine` on arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segaware import BilateralFilter2d, DenseCRF, EmbeddingNet, SegAwareCRF, attention_mask, dense_crf, refine
from segaware.models import ScoreRefinement, Sharpener
from segaware.nn import ColorEmbedding, Embedding, FastEmbeddingNet, upsample
from segaware.nn.bundled import DEFAULT_EMBEDDING
from segaware.refining import Arrays, Refinement, settings
from segaware.refining import refinement as refinement_module


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 45, 62)


@pytest.fixture
def half() -> np.ndarray:
    """Black on the left, white on the right."""
    image = np.zeros((24, 30, 3), np.uint8)
    image[:, 15:] = 255
    return image


def test_is_what_a_sharpener_does(image: Tensor) -> None:
    scores, network = torch.randn(4, 6, 8), EmbeddingNet(0.125, 4).eval()
    options = {"filter_kernel_size": 5, "filter_iterations": 2, "filter_hardness": 0.7}
    sharpen = Sharpener(ScoreRefinement(4, filter_probabilities=True, edge_iterations=2, **options), network)
    with torch.no_grad():
        expected = sharpen(image[None], scores[None], 8)[0]
    refined = refine(image, scores, embedding=network, kernel_size=5, iterations=2, hardness=0.7)
    torch.testing.assert_close(refined, expected, atol=1e-5, rtol=0)


def test_borders_of_coarse_scores_come_to_the_pixel(half: np.ndarray) -> None:
    logits = np.zeros((2, 3, 4), np.float32)  # at stride 8; interpolated, the border would be at column 12
    logits[1] = [-2, -1, 1, 2]
    half[:, 15] = 0  # which pixels of stride 2 do not see
    labels = refine(half, logits, embedding="color", classify=True)
    assert labels.dtype == np.int64 and (labels == (np.arange(30) >= 16)).all()
    layer = BilateralFilter2d(9, iterations=8, hardness=17.6)  # the same but for the image's own pixels
    assert (refine(half, logits, layer, embedding=ColorEmbedding(), classify=True)[:, 15] == 1).all()


def test_scores_of_the_images_size_are_filtered_half_as_often(image: Tensor) -> None:
    scores = torch.randn(3, 45, 62)
    four = refine(image, scores, embedding="color", iterations=4)
    torch.testing.assert_close(refine(image, scores, embedding="color"), four, atol=0, rtol=0)
    coarse = torch.randn(3, 6, 8)
    eight = refine(image, coarse, embedding="color", iterations=8)
    torch.testing.assert_close(refine(image, coarse, embedding="color"), eight, atol=0, rtol=0)


@pytest.mark.parametrize("method", ["filter", "segaware_crf", "dense_crf"])
@pytest.mark.parametrize("kind", ["scores", "probabilities"])
def test_classify_is_the_argmax(image: Tensor, method: Any, kind: Any) -> None:
    scores = 5 * torch.randn(2, 9, 6, 8) - 6 * torch.arange(9.0)[:, None, None]
    scores = scores.softmax(1) if kind == "probabilities" else scores
    images = torch.stack([image, image.flip(2)])
    labels = refine(images, scores, method, kind, "color", classify=True)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, refine(images, scores, method, kind, "color").argmax(1))


class Unknown(Embedding):
    """An embedding of whose memory nothing is known."""

    dim, receptive_radius, max_stride = 4, 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3, padding=1)

    def embed(self, image: Tensor, stride: int) -> Tensor:
        return self.layer(image)[..., ::stride, ::stride]


NETWORKS: dict[str, Callable[[], Embedding]] = {
    "vgg": lambda: EmbeddingNet(0.125, 4),
    "fast": lambda: FastEmbeddingNet(0.125, dim=3),
    "unknown": Unknown,
}


@pytest.mark.parametrize(
    ("method", "kind", "scores_stride", "stride", "network"),
    [
        ("filter", "scores", 8, None, "vgg"),
        ("filter", "values", 1, None, "vgg"),
        ("filter", "labels", 3, None, "fast"),
        ("filter", "scores", 1, 4, "fast"),
        ("filter", "scores", 2, None, "unknown"),
        ("segaware_crf", "probabilities", 4, 2, "fast"),
        ("segaware_crf", "labels", 1, 1, "vgg"),
    ],
)
def test_tiles_give_what_the_whole_gives(
    method: Any, kind: Any, scores_stride: int, stride: int | None, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NETWORKS[network]().eval()
    image = torch.rand(3, 150, 214) if network.receptive_radius < 30 else torch.rand(3, 250, 330)
    size = [(n + scores_stride - 1) // scores_stride for n in image.shape[1:]]
    scores = {
        "scores": torch.randn(3, *size),
        "probabilities": torch.randn(3, *size).softmax(0),
        "labels": torch.randint(3, size),
        "values": torch.where(torch.rand(1, *size) < 0.3, torch.nan, torch.randn(3, *size)),
    }[kind]
    options: dict[str, Any] = {"kernel_size": 3, "iterations": 2, "stride": stride, "return_mask": True}
    whole, whole_mask = refine(image, scores, method, kind, network, **options)
    pieces: list[int] = []
    run = refinement_module.Refinement.run

    def counted(self: Refinement, piece: int, arrays: Arrays) -> None:
        pieces.append(piece)
        run(self, piece, arrays)

    monkeypatch.setattr(refinement_module.Refinement, "run", counted)
    memory = 1.5e6 if network.receptive_radius < 30 else 3.1e6  # as the smallest tile takes with all it depends on
    monkeypatch.setattr(refinement_module, "memory_left", lambda limit, held: memory)
    tiled, tiled_mask = refine(image, scores, method, kind, network, max_memory="4GB", **options)
    assert len(pieces) > 6  # two are of the small image that is refined before anything is planned
    if kind in ("labels", "values"):  # rounding decides between two classes, or values, that are as likely
        assert (tiled.nan_to_num() != whole.nan_to_num()).float().mean() < 1e-4
    else:
        torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0, equal_nan=True)
    torch.testing.assert_close(tiled_mask, whole_mask, atol=1e-5, rtol=0)


def test_embedding_sees_no_further_than_it_says() -> None:
    network, radius = EmbeddingNet(0.125, 4).eval(), EmbeddingNet.receptive_radius
    image = torch.rand(1, 3, 100, 100)
    with torch.no_grad():
        for y, x in ((48, 48), (51, 51), (49, 50)):
            changed = image.clone()
            changed[..., y, x] += 100
            rows, columns = (network(changed) != network(image)).any(1)[0].nonzero(as_tuple=True)
            assert max((rows - y).abs().max(), (columns - x).abs().max()) <= radius


def test_an_embedding_is_asked_for_the_stride_of_the_layer_and_another_module_for_the_whole(image: Tensor) -> None:
    scores, network = torch.randn(4, 6, 8), NETWORKS["fast"]().eval()
    strides: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: strides.append(inputs[1]))
    for stride in (1, 2, 8):
        refined = refine(image, scores, embedding=network, kernel_size=3, iterations=1, stride=stride)
        with torch.no_grad():
            whole = network.embed(image[None], 1)[0]
        expected = refine(image, scores, embedding=whole, kernel_size=3, iterations=1, stride=stride)
        torch.testing.assert_close(refined, expected, atol=1e-5, rtol=0)
    assert strides == [1, 2, 8]
    wrapped = torch.nn.Sequential(NETWORKS["fast"]()).eval()  # is called with the image alone
    refine(image, scores, embedding=wrapped, kernel_size=3, iterations=1)


def test_names_of_embeddings(image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.named_embedding.cache_clear()
    networks = {name: NETWORKS[name]().eval() for name in ("fast", "vgg")}
    monkeypatch.setattr(settings, "load_embedding", networks.__getitem__)
    scores, options = torch.randn(4, 6, 8), {"kernel_size": 3, "iterations": 1}
    refined = {n: refine(image, scores, embedding=n, **options) for n in ("fast", "vgg", "color", "pretrained")}
    settings.named_embedding.cache_clear()
    for name, network in (networks | {"color": ColorEmbedding()}).items():
        assert torch.equal(refined[name], refine(image, scores, embedding=network, **options))
    assert torch.equal(refined["pretrained"], refined[DEFAULT_EMBEDDING])


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (2, 17)])
@pytest.mark.parametrize("network", [*NETWORKS])
def test_images_smaller_than_the_largest_stride(size: tuple[int, int], network: str) -> None:
    image, scores = torch.rand(3, *size), torch.randn(2, *size)
    refined = refine(image, scores, embedding=NETWORKS[network](), kernel_size=1, iterations=1)
    assert refined.shape == scores.shape and refined.isfinite().all()


def test_numpy_gives_numpy_and_torch_torch(image: Tensor) -> None:
    pixels = (image.permute(1, 2, 0) * 255).byte().numpy()
    scores = torch.randn(3, 45, 62, dtype=torch.float64)
    as_numpy = refine(pixels, scores.numpy(), embedding="color")
    as_tensor = refine(torch.from_numpy(pixels).permute(2, 0, 1), scores, embedding="color")
    assert as_numpy.dtype == np.float64 and as_tensor.dtype == torch.float64
    np.testing.assert_array_equal(as_numpy, as_tensor.numpy())
    batch = refine(torch.stack([image, image.flip(2)]), torch.stack([scores, scores.flip(2)]), embedding="color")
    torch.testing.assert_close(batch[1], batch[0].flip(2), atol=1e-5, rtol=0)
    assert refine(image, scores.half(), embedding="color").dtype == torch.float16


def test_labels_follow_the_image(half: np.ndarray) -> None:
    labels = np.ones((24, 30), np.uint8)
    labels[:, :13] = 0  # two columns too few
    labels[5, 20] = 0
    labels[10:12, 2:4] = 255
    for method in ("filter", "segaware_crf", "dense_crf"):
        options = {} if method == "dense_crf" else {"kernel_size": 9, "embedding": "color"}
        refined = refine(half, labels, method, kind="labels", strength=1, **options)
        assert refined.dtype == np.uint8
        np.testing.assert_array_equal(refined, np.repeat([[0] * 15 + [1] * 15], 24, 0), method)
    unknown = refine(half, np.full_like(labels, 255), kind="labels", embedding="color")
    assert (unknown == 255).all()


def test_unknown_values_are_left_out_and_filled(half: np.ndarray) -> None:
    depth = np.where(half[..., 0] > 0, 5, 1).astype(np.float32)
    depth[3:9, 12:18] = np.nan
    refined = refine(half, depth, kind="values", embedding="color", kernel_size=9, hardness=10.0)
    np.testing.assert_allclose(refined, np.where(half[..., 0] > 0, 5, 1), atol=1e-4)
    nothing = refine(half, np.full((2, 24, 30), np.nan, np.float32), kind="values", embedding="color")
    assert nothing.shape == (2, 24, 30) and np.isnan(nothing).all()


def test_probabilities_stay_probabilities(image: Tensor) -> None:
    probabilities = torch.randn(3, 45, 62).softmax(0)
    for method in ("filter", "segaware_crf", "dense_crf"):
        refined = refine(image, probabilities, method, "probabilities", "color")
        assert (refined >= 0).all()
        torch.testing.assert_close(refined.sum(0), torch.ones(45, 62))
        assert (refined - probabilities).abs().max() > 0.01
    crf = dense_crf(probabilities.log(), image, bilateral_srgb=5.0)
    torch.testing.assert_close(refine(image, probabilities, DenseCRF(bilateral_srgb=5.0), "probabilities"), crf)


def test_layers_as_method_and_ready_embeddings(image: Tensor) -> None:
    scores, embedding = torch.randn(3, 45, 62), torch.randn(4, 45, 62)
    layer = BilateralFilter2d(5, hardness=0.5)
    with torch.no_grad():
        expected = layer(scores.softmax(0)[None], embedding[None])[0]
    refined, mask = refine(image, scores, layer, embedding=embedding, return_mask=True)
    refined = refined.exp()
    torch.testing.assert_close(refined, expected)
    torch.testing.assert_close(mask, attention_mask(layer.distance(embedding[None]), 0.5)[0])
    scores = scores.softmax(0)
    coarse = refine(image, scores, layer, "probabilities", embedding, stride=2)
    with torch.no_grad():
        half = layer(scores[None, :, ::2, ::2].contiguous(), embedding[None, :, ::2, ::2].contiguous())
    torch.testing.assert_close(coarse, upsample(half, 2, (45, 62))[0])
    by_function = refine(image, scores, embedding=lambda x: 10 * x)
    torch.testing.assert_close(by_function, refine(image, scores, embedding=ColorEmbedding(), hardness=1.0))
    with pytest.raises(AssertionError):  # colours have their own hardness
        torch.testing.assert_close(by_function, refine(image, scores, embedding="color"))


SCORES = torch.zeros(3, 45, 62)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "values", "classify": True}, "classify is for scores and probabilities, got kind 'values'"),
        ({"scores": torch.zeros(45, 62, 3)}, r"scores must be \(C, h, w\), got \(H, W, C\)"),
        ({"scores": torch.zeros(3, 62, 45)}, r"scores must be \(C, h, w\), got \(C, W, H\)"),
        ({"scores": torch.zeros(62, 45).int(), "kind": "labels"}, r"scores must be \(h, w\), got \(W, H\)"),
        ({"align": "half"}, "align must be one of .*, got 'half'"),
        (
            {"scores": torch.zeros(3, 7, 8), "align": "strided"},
            "align must be 'centers' or 'corners' for scores of 7x8",
        ),
        ({"region": (0, 0, 5)}, "region must be four numbers"),
        ({"region": (0, 9, 5, 9)}, "region must be four numbers, left < right and top < bottom"),
        ({"region": (62, 0, 80, 45)}, "region must be four numbers, .* of 45x62 .*, got .62, 0"),
        ({"region": (0, 0, float("nan"), 45)}, "region must be four numbers"),
        ({"scores": torch.full((3, 45, 62), torch.nan)}, "scores must be finite"),
        ({"image": torch.full((3, 45, 62), torch.nan)}, "image must be in 0..1, or uint8, got .* from nan to nan"),
        ({"image": torch.zeros(3, 45, 62, dtype=torch.int16)}, "image must be uint8 or floating-point, got int16"),
        ({"scores": torch.zeros(45, 62)}, r"scores must be of shape \(C, h, w\)"),
        ({"scores": [1.0]}, "scores must be a torch.Tensor or a NumPy array, got list"),
        ({"image": torch.zeros(4, 45, 62)}, "image must be RGB"),
        ({"image": torch.full((3, 45, 62), 255.0)}, "image must be in 0..1"),
        ({"method": "crf"}, "method must be one of"),
        ({"kind": "logits"}, "kind must be one of"),
        ({"strength": 2}, "strength must be 'auto' or a number in 0..1, got 2"),
        ({"ignore_index": 0.5}, "ignore_index must be an int"),
        ({"kind": "values", "method": "dense_crf"}, "method must be 'filter' for values"),
        ({"kind": "values", "scores": torch.full((3, 45, 62), torch.inf)}, "values must be finite, or NaN"),
        ({"kind": "labels", "scores": torch.full((45, 62), 3), "num_classes": 3}, r"labels must be in 0\.\.2"),
        ({"kind": "labels", "scores": torch.zeros(45, 62, dtype=torch.int64), "certainty": 0.5}, "certainty must be"),
        ({"kind": "labels", "scores": torch.zeros(45, 62)}, "must be integers"),
        ({"kind": "probabilities", "scores": SCORES + 2}, r"probabilities must be in 0\.\.1"),
        ({"num_classes": 3}, "num_classes is for labels only"),
        ({"embedding": "colour"}, "embedding must be one of .*'fast', 'vgg'"),
        ({"embedding": torch.zeros(4, 45, 60)}, r"embedding must be .* \(E, 45, 62\)"),
        ({"embedding": lambda x: x[0]}, "embedding must return tensors"),
        ({"method": "dense_crf", "hardness": 1.0}, "hardness are not options of the dense CRF"),
        ({"method": "dense_crf", "return_mask": True}, "return_mask must be False"),
        ({"method": SegAwareCRF(4)}, "scores must have the method's 4 classes, got 3"),
        ({"method": BilateralFilter2d(3), "hardness": 1.0}, "hardness is an option of the layer"),
        ({"max_memory": "4 gigs"}, "max_memory must be a number of bytes or like '4GB'"),
        ({"iterations": 0}, "iterations must be an int of at least 1"),
    ],
)
def test_what_does_not_fit_is_named(image: Tensor, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refine(**({"image": image, "scores": SCORES, "embedding": "color"} | arguments))


def test_too_little_memory_says_what_is_needed(image: Tensor) -> None:
    for method, reason in (("filter", "BilateralFilter2d needs about"), ("dense_crf", "the whole image at once")):
        with pytest.raises(MemoryError, match=reason):
            refine(image, F.pad(SCORES, (0, 0)), method, embedding="color", max_memory="100MB")


def test_tiles_are_logged(image: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "segaware"):
        refine(image, torch.randn(4, 45, 62), embedding="color")
    assert "45 x 62 pixels: 1 tiles to embed, 1 to refine" in caplog.text
