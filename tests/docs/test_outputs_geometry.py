"""The lines of docs/outputs.md know where other packages' outputs lie.

A shape goes through a package's own preparation of images; of what it sees then, a perfect network's output is made;
the page's code, with strength 0, must bring the borders back to where they were. The packages' own enlargement is the
second opinion.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import segaware
from tests.docs.outputs_page import BORDERS, SIZE, SURE, borders, code, error, network, painted, run, seen


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return painted()


def quarter(pixel_values: Tensor, stride: int = 4) -> Tensor:
    height, width = pixel_values.shape[-2:]
    return seen(pixel_values, (height // stride, width // stride))


def two_classes(mask: Tensor) -> Tensor:
    """Return logits of a background and the shape, (1, 2, h, w)."""
    return torch.stack([torch.zeros_like(mask), mask.logit()])[None]


def test_the_shape_is_where_it_was_painted(image: np.ndarray) -> None:
    assert error(image[..., 0] / 255) < 0.01


def test_segformer(image: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers")
    processor = transformers.SegformerImageProcessor()
    names = {"image": image, "processor": processor, "model": network(logits=lambda x: two_classes(quarter(x)))}
    (block,) = code("SegFormer, and others with `logits`")
    assert error(run(block, names, strength=0, classify=False).labels[1].exp()) < 0.1
    page = run(block, names, strength=0)
    outputs = SimpleNamespace(logits=page.logits[None])
    (theirs,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[SIZE])
    assert (page.labels != theirs).float().mean() < 0.005 and error(page.labels, borders(theirs)) <= 1


def test_segformer_of_a_size_that_a_stride_fits() -> None:
    """Without `align`, 128x128 of 512x512 pixels would be taken for strided."""
    transformers = pytest.importorskip("transformers")
    ramp = np.repeat(np.arange(512)[None] >= 200, 512, 0)
    image = np.repeat((255 * ramp).astype(np.uint8)[..., None], 3, 2)
    model = network(logits=lambda x: two_classes(quarter(x)))
    names = {"image": image, "processor": transformers.SegformerImageProcessor(), "model": model}
    (block,) = code("SegFormer, and others with `logits`")
    labels = run(block, names, strength=0).labels
    assert abs(int((labels[256] == 0).sum()) - 200) <= 1
    aside = run(block.replace(', align="centers"', ""), names, strength=0).labels
    assert 512 - int((aside[256] == 1).sum()) <= 199


@pytest.mark.parametrize("name", ["Mask2Former", "MaskFormer"])
def test_maskformer(image: np.ndarray, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, f"{name}ImageProcessor")()
    model = network(
        class_queries_logits=lambda x: torch.tensor([[[9.0, 0, 0], [0, 9, 0], [0, 0, 9]]]),
        masks_queries_logits=lambda x: torch.stack([1 - quarter(x), quarter(x), quarter(x)]).logit()[None],
    )
    semantic, objects, panoptic = code("Mask2Former, MaskFormer, OneFormer")
    names = {"image": image, "processor": processor, "model": model}
    assert error(run(semantic, names, strength=0, classify=False).labels[1].exp()) < 0.1
    page = run(semantic + objects + panoptic, names, strength=0)
    (theirs,) = processor.post_process_semantic_segmentation(page.outputs, target_sizes=[SIZE])
    assert (page.labels != theirs).float().mean() < 0.005 and error(page.labels, borders(theirs)) <= 1
    assert len(page.objects) == 2 and error(page.objects[1]) <= 1
    assert set(page.segments.unique().tolist()) == {1, 2}


def test_sam(image: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers")
    processor = transformers.SamImageProcessor()
    inputs = processor(images=image, return_tensors="pt")
    model = network(pred_masks=lambda x: quarter(x).logit()[None, None, None])
    (block,) = code("SAM")
    names = {"image": image, "inputs": inputs, "model": model}
    soft = run(block.replace(" > 0", ""), names, strength=0).masks[0].sigmoid()
    assert error(soft) < 0.1
    page = run(block, names, strength=0)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    (theirs,) = processor.post_process_masks([page.outputs.pred_masks[0]], *sizes)
    assert (page.masks[0] != theirs[0, 0]).float().mean() < 0.005 and error(page.masks[0], borders(theirs[0, 0])) <= 1
    low_res = page.outputs.pred_masks[0, 0].numpy()
    region = (0, 0, max(SIZE), max(SIZE))
    masks = segaware.refine(image, low_res, kind="masks", align="centers", region=region, strength=0)
    assert error(torch.from_numpy(masks[0]).sigmoid()) < 0.2


def test_sam2(image: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers", minversion="4.57")  # which has it
    processor = transformers.Sam2ImageProcessor()
    inputs = processor(images=image, return_tensors="pt")
    model = network(pred_masks=lambda x: quarter(x).logit()[None, None, None])
    (block,) = code("SAM 2, SAM 3")
    names = {"image": image, "inputs": inputs, "model": model}
    assert error(run(block.replace(" > 0", ""), names, strength=0).masks[0].sigmoid()) < 0.1
    (theirs,) = processor.post_process_masks([model(**inputs).pred_masks[0]], inputs["original_sizes"])
    assert error(run(block, names, strength=0).masks[0], borders(theirs[0, 0])) <= 1


def test_clipseg(image: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers")
    prepare = transformers.ViTImageProcessor(size={"height": 352, "width": 352})
    model = network(logits=lambda x: torch.stack([quarter(x, 1)] * len(x)).logit())
    names = {
        "image": image,
        "prompts": ["a cat", "a rectangle"],
        "processor": lambda text, images, **_: prepare(images=images, return_tensors="pt"),  # a tokenizer is a download
        "model": model,
    }
    (block,) = code("CLIPSeg")
    masks = run(block, names, strength=0).masks
    assert masks.shape == (2, *SIZE) and max(error(mask) for mask in masks) < 0.1


@pytest.mark.parametrize("options", [{}, {"keep_aspect_ratio": True, "ensure_multiple_of": 14}])
def test_depth(image: np.ndarray, options: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    processor = transformers.DPTImageProcessor(**options)
    model = network(predicted_depth=lambda x: quarter(x, 1)[None])
    (block,) = code("Depth Anything, DPT")
    page = run(block, {"image": image, "processor": processor, "model": model}, strength=0)
    assert error(page.depth) < 0.1
    outputs = SimpleNamespace(predicted_depth=model(**page.inputs).predicted_depth)
    (theirs,) = processor.post_process_depth_estimation(outputs, target_sizes=[SIZE])
    difference = (page.depth - theirs["predicted_depth"]).abs()  # bicubic, where ours is bilinear
    assert difference.mean() < 0.005 and error(page.depth, borders(theirs["predicted_depth"])) < 0.1


def test_torchvision_segmentation(image: np.ndarray) -> None:
    presets = pytest.importorskip("torchvision.transforms._presets")
    model = SimpleNamespace(backbone=lambda x: {"out": x}, classifier=lambda x: two_classes(quarter(x, 8)))
    weights = SimpleNamespace(transforms=lambda: presets.SemanticSegmentation(resize_size=520))
    (block,) = code("DeepLabV3, FCN")
    names = {"image": image, "model": model, "weights": weights}
    assert error(run(block, names, strength=0, classify=False).labels[1].exp()) < 0.1
    page = run(block, names, strength=0)
    theirs = F.interpolate(page.logits[None], SIZE, mode="bilinear", align_corners=False)[0].argmax(0)
    assert error(page.labels, borders(theirs)) <= 1


def test_mask_rcnn_in_boxes(image: np.ndarray) -> None:
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    aligned = pytest.importorskip("torchvision.ops.roi_align")._roi_align
    boxes = torch.tensor([[80.5, 40.25, 300.0, 230.75]])
    full = torch.from_numpy(image[..., 0] / 255).float()[None, None]
    with torch.compiler.set_stance("force_eager"):  # it would be compiled
        rois = torch.cat([torch.zeros(1, 1), boxes], 1)
        cells, theirs_in_training = (aligned(full, rois, 1.0, 28, 28, 8, flag)[0] for flag in (True, False))
    _, block = code("Mask R-CNN")
    names = {"image": image, "boxes": boxes.numpy()}
    (pasted,) = run(block, names | {"masks": cells.numpy()}, strength=0).pasted
    assert error(pasted) < 0.1
    outside = np.ones(SIZE, bool)
    outside[36:236, 72:308] = False
    assert pasted[outside].max() == 0
    # Theirs rounds boxes to pixels.
    theirs = heads.paste_masks_in_image(cells[None], boxes, SIZE)[0, 0]
    assert error(pasted, borders(theirs)) < 1
    names = {"image": image, "boxes": boxes.numpy() + 0.5, "masks": theirs_in_training.numpy()}
    assert error(run(block, names, strength=0).pasted[0]) < 0.1


def test_mask_rcnn_pasted(image: np.ndarray) -> None:
    mask = torch.from_numpy(image[..., 0] / 255).float()[None, None]
    output = {"scores": torch.tensor([0.9, 0.1]), "masks": mask.repeat(2, 1, 1, 1)}
    block, _ = code("Mask R-CNN")
    masks = run(block, {"image": image, "model": lambda images: [output]}, strength=0).masks
    assert masks.shape == (1, *SIZE) and error(masks[0]) < 0.2


def test_segmentation_models_pytorch(image: np.ndarray) -> None:
    head = pytest.importorskip("segmentation_models_pytorch.base").SegmentationHead(1, 1, upsampling=4)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    whole, before = code("segmentation_models_pytorch")
    names = {"image": image, "batch": batch, "model": lambda x: two_classes(x[0, 0].clamp(SURE, 1 - SURE))}
    page = run(whole, names, strength=0, classify=False)
    assert page.padded.shape[-2:] == (320, 480) and error(page.labels[1].exp()) < 0.2

    class Model(torch.nn.Module):
        """What its decoder gives: the shape where `align_corners=True` will have it."""

        def __init__(self) -> None:
            super().__init__()
            self.segmentation_head = torch.nn.Sequential(torch.nn.Identity(), head[1])

        def forward(self, x: Tensor) -> Tensor:
            points = [torch.linspace(0, n - 1, n // 4) + 0.5 for n in x.shape[-2:]]
            start, stop = BORDERS[:2], BORDERS[2:]
            inside = [  # soft over a cell, so that interpolation keeps the middle
                (((p - a) / 4 + 0.5).clamp(0, 1) * ((b - p) / 4 + 0.5).clamp(0, 1))
                for p, a, b in zip(points, start[::-1], stop[::-1], strict=True)
            ]
            return self.segmentation_head(two_classes(torch.outer(*inside).clamp(SURE, 1 - SURE)))

    model = Model()
    theirs = model(page.padded)[0, :, : SIZE[0], : SIZE[1]].argmax(0)
    names = {"image": image, "padded": page.padded, "model": model}
    assert error(run(before, names, strength=0, classify=False).labels[1].exp()) < 0.1
    assert error(run(before, names, strength=0).labels, borders(theirs)) <= 1


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("auto", [True, False])
def test_letterbox(image: np.ndarray, yolo: None, stride: int, auto: bool) -> None:
    augment = pytest.importorskip("ultralytics.data.augment")
    ops = pytest.importorskip("ultralytics.utils.ops")
    letterbox = augment.LetterBox((640, 640), auto=auto, stride=32, padding_value=0)(image=image)
    data = quarter(torch.from_numpy(letterbox).permute(2, 0, 1)[None], stride)[None]
    result = SimpleNamespace(orig_shape=SIZE, masks=SimpleNamespace(data=data, shape=(1, *letterbox.shape[:2])))
    _, block = code("ultralytics")
    (mask,) = run(block, {"image": image, "result": result}, strength=0).masks
    assert error(mask) < 0.1
    if stride == 1:  # theirs crops whole cells
        assert error(mask, borders(ops.scale_masks(data[None], SIZE)[0, 0])) < 0.1


@pytest.fixture
def yolo(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ultralytics from writing into the home folder, and from asking the network."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("yolo")))
    monkeypatch.setenv("YOLO_OFFLINE", "True")


def test_squashed_squares(image: np.ndarray) -> None:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    _, block = code("MediaPipe")
    page = run(block, {"image": image, "mask": seen(pixels, (256, 256)).numpy()}, strength=0)
    assert error(page.mask) < 0.1
