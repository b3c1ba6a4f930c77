"""The code of docs/outputs.md runs with the packages themselves, on small networks with random weights."""

import re
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.docs.outputs_page import PAGE, code, run

SIZE = 75, 113


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


@pytest.fixture
def transformers() -> Any:
    return pytest.importorskip("transformers")


def test_every_block_is_run_somewhere() -> None:
    """Or it is one that reads the image."""
    tests = "".join(file.read_text() for file in PAGE.parents[1].glob("tests/docs/test_outputs_*.py"))
    titles = [t for t in re.findall(r"^##+ (.+)$", PAGE.read_text(), re.M) if code(t)]
    assert len(titles) > 10
    assert [t for t in titles if f'code("{t}")' not in tests] == []


def test_blocks_are_short() -> None:
    blocks = [block.splitlines() for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)]
    assert max(map(len, blocks)) <= 6 and max(len(line) for block in blocks for line in block) <= 120


def test_segformer(image: np.ndarray, transformers: Any) -> None:
    config = transformers.SegformerConfig(hidden_sizes=[16, 32, 40, 64], decoder_hidden_size=16, num_labels=4)
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 64})
    (block,) = code("SegFormer, and others with `logits`")
    page = run(block, {"image": image, "model": model, "processor": processor})
    assert page.logits.shape == (4, 16, 16) and page.labels.shape == SIZE


def test_maskformer(image: np.ndarray, transformers: Any) -> None:
    stages = [f"stage{n}" for n in range(1, 5)]
    small = {"depths": [1] * 4, "num_heads": [1] * 4, "window_size": 4}
    backbone = transformers.SwinConfig(embed_dim=8, out_features=stages, **small)
    decoder = transformers.DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5
    )
    config = transformers.MaskFormerConfig(
        backbone_config=backbone, decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, num_labels=3
    )
    model = transformers.MaskFormerForInstanceSegmentation(config).eval()
    processor = transformers.MaskFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    semantic, objects, panoptic = code("Mask2Former, MaskFormer, OneFormer")
    objects = objects.replace("0.5", "classes.amax(1).median()")  # a random network is sure of nothing
    page = run(semantic + objects + panoptic, {"image": image, "model": model, "processor": processor})
    assert page.labels.shape == page.segments.shape == SIZE
    assert page.masks.shape == (5, 16, 24)
    assert page.objects.shape == (2, *SIZE) and page.objects.dtype == torch.bool


def test_sam(image: np.ndarray, transformers: Any) -> None:
    small = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2}
    vision = {"num_hidden_layers": 1, "output_channels": 16, "num_pos_feats": 8, "global_attn_indexes": [], **small}
    config = transformers.SamConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"iou_head_hidden_dim": 16, **small},
    )
    processor = transformers.SamProcessor(transformers.SamImageProcessor())
    inputs = processor(image, input_points=[[[30, 40]]], return_tensors="pt")
    (block,) = code("SAM")
    page = run(block, {"image": image, "model": transformers.SamModel(config).eval(), "inputs": inputs})
    assert page.outputs.pred_masks.shape[-3:] == (3, 256, 256)
    assert page.masks.shape == (3, *SIZE) and page.masks.dtype == torch.bool


def test_sam2(image: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers", minversion="4.57")  # which has it
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "embed_dim_per_stage": [8, 16, 32, 64],
        "blocks_per_stage": [1, 1, 1, 1],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "global_attention_blocks": [],
    }
    vision = {"backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8]}
    model = transformers.Sam2Model(transformers.Sam2Config(vision_config=vision)).eval()
    processor = transformers.Sam2Processor(transformers.Sam2ImageProcessor())
    inputs = processor(image, input_points=[[[[30, 40]]]], return_tensors="pt")
    (block,) = code("SAM 2, SAM 3")
    masks = run(block, {"image": image, "model": model, "inputs": inputs}).masks
    assert masks.shape == (3, *SIZE) and masks.dtype == torch.bool


def test_clipseg(image: np.ndarray, transformers: Any) -> None:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3}
    config = transformers.CLIPSegConfig(
        text_config={"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, **small},
        vision_config={"image_size": 352, "patch_size": 16, **small},
        projection_dim=16,
        extract_layers=[0, 1, 2],
        reduce_dim=8,
        decoder_intermediate_size=16,
        decoder_num_attention_heads=2,
    )
    model = transformers.CLIPSegForImageSegmentation(config).eval()
    prepare = transformers.ViTImageProcessor(size={"height": 352, "width": 352})

    def processor(text: list[str], images: list[np.ndarray], **_: Any) -> dict[str, torch.Tensor]:
        """A tokenizer would be a download."""
        tokens = torch.tensor([[0, 5, 1]] * len(text))
        return {"input_ids": tokens, **prepare(images=images, return_tensors="pt")}

    (block,) = code("CLIPSeg")
    names = {"image": image, "model": model, "processor": processor, "prompts": ["a cat", "a dog"]}
    masks = run(block, names).masks
    assert masks.shape == (2, *SIZE) and 0 <= masks.min() <= masks.max() <= 1


def depth_anything(transformers: Any) -> torch.nn.Module:
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    small = {"reassemble_hidden_size": 16, "neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "head_hidden_size": 8}
    config = transformers.DepthAnythingConfig(backbone_config=backbone, **small)
    return transformers.DepthAnythingForDepthEstimation(config)


def dpt(transformers: Any) -> torch.nn.Module:
    small = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}
    sizes = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "image_size": 112, "patch_size": 14}
    return transformers.DPTForDepthEstimation(
        transformers.DPTConfig(backbone_out_indices=[0, 1, 2, 3], **small, **sizes)
    )


@pytest.mark.parametrize(("build", "ratio"), [(depth_anything, True), (dpt, False)])
def test_depth(image: np.ndarray, transformers: Any, build: Callable[..., torch.nn.Module], ratio: bool) -> None:
    size = {"height": 112, "width": 112}
    processor = transformers.DPTImageProcessor(size=size, keep_aspect_ratio=ratio, ensure_multiple_of=14)
    (block,) = code("Depth Anything, DPT")
    page = run(block, {"image": image, "model": build(transformers).eval(), "processor": processor})
    assert page.depth.shape == SIZE and page.depth.isfinite().all()


def test_torchvision_segmentation(image: np.ndarray) -> None:
    segmentation = pytest.importorskip("torchvision.models.segmentation")
    presets = pytest.importorskip("torchvision.transforms._presets")
    model = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
    weights = SimpleNamespace(transforms=partial(presets.SemanticSegmentation, resize_size=64))
    (block,) = code("DeepLabV3, FCN")
    page = run(block, {"image": image, "model": model, "weights": weights})
    with torch.no_grad():
        theirs = model(page.batch)["out"]
    ours = torch.nn.functional.interpolate(page.logits[None], page.batch.shape[-2:], mode="bilinear")
    torch.testing.assert_close(ours, theirs)  # nothing but the enlargement is missing
    assert page.labels.shape == SIZE


@pytest.mark.parametrize("name", ["Unet", "FPN", "DeepLabV3Plus"])
def test_segmentation_models_pytorch(image: np.ndarray, name: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = getattr(smp, name)("resnet18", encoder_weights=None, classes=3).eval()
    batch = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    whole, before = code("segmentation_models_pytorch")
    page = run(whole, {"image": image, "batch": batch, "model": model})
    assert page.padded.shape == (1, 3, 96, 128) and page.labels.shape == SIZE
    if name == "Unet":
        assert isinstance(model.segmentation_head[1], torch.nn.Identity)  # as the page says
        return
    enlarged = model.segmentation_head[1]
    assert enlarged.align_corners
    assert run(before, vars(page)).labels.shape == SIZE


def test_ultralytics(image: np.ndarray, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "True")
    build = pytest.importorskip("ultralytics").YOLO
    # torchvision's kernel may be missing here.
    monkeypatch.setattr("torchvision.ops.nms", lambda boxes, scores, threshold: scores.argsort(descending=True))
    for seed in range(20):  # a random network finds everything, with empty masks or not
        torch.manual_seed(seed)
        model = partial(build("yolo11n-seg.yaml"), conf=1e-9, max_det=3, verbose=False)
        if len(model(image)[0]):
            break
    names = {"image": image, "model": model}
    first, second = code("ultralytics")
    page = run(first, names)
    assert page.masks.shape == (len(page.result), *SIZE) and page.masks.dtype == torch.uint8
    page = run(first.replace(", retina_masks=True", "").splitlines()[0] + "\n" + second, names)
    assert page.result.masks.shape[1:] == (448, 640)
    assert page.masks.shape == (len(page.result), *SIZE) and set(page.masks.unique().tolist()) <= {0, 1}


def test_supervision(image: np.ndarray) -> None:
    sv = pytest.importorskip("supervision")
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:30, 20:60] = masks[1, 20:60, 30:90] = True
    detections = sv.Detections(xyxy=sv.mask_to_xyxy(masks), mask=masks)
    (block,) = code("supervision")
    page = run(block, {"image": image, "sv": sv, "detections": detections})
    assert page.detections.mask.shape == masks.shape and page.detections.mask.dtype == bool
    assert (page.detections.mask != masks).any()
    assert sv.MaskAnnotator(color_lookup=sv.ColorLookup.INDEX).annotate(image, page.detections).shape == image.shape


def test_mediapipe(image: np.ndarray) -> None:
    """Its networks are downloads: the result is made by hand."""
    mp = pytest.importorskip("mediapipe")
    soft = np.random.default_rng(0).random(SIZE).astype(np.float32)
    result = SimpleNamespace(confidence_masks=[mp.Image(image_format=mp.ImageFormat.VEC32F1, data=soft)])
    block, squashed = code("MediaPipe")
    page = run(block, {"image": image, "mp": mp, "segmenter": SimpleNamespace(segment=lambda given: result)})
    assert page.masks.shape == (1, *SIZE) and page.masks.dtype == np.float32
    assert run(squashed, {"image": image, "mask": np.zeros((1, 256, 256, 1), np.float32)}).mask.shape == SIZE


def test_rembg(image: np.ndarray) -> None:
    rembg = pytest.importorskip("rembg")
    u2net = pytest.importorskip("rembg.sessions.u2net").U2netSession

    class Session(u2net):
        """U2-Net's own steps, but for its weights, which are a download."""

        def __init__(self) -> None:
            values = np.random.default_rng(0).random((1, 1, 320, 320)).astype(np.float32)
            self.inner_session = SimpleNamespace(
                run=lambda names, inputs: [values], get_inputs=lambda: [SimpleNamespace(name="input")]
            )

    (block,) = code("rembg")
    page = run(block, {"image": image, "rembg": rembg, "session": Session()})
    assert page.mask.shape == SIZE and page.mask.dtype == np.uint8
    assert page.cut_out.shape == (*SIZE, 4)
