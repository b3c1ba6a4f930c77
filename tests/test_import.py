"""`import segaware` is light and quiet, and these are the public names."""

import subprocess
import sys

import segaware
import segaware.nn
import segaware.ops

OPTIONAL = (
    "lightning", "torchmetrics", "scipy", "matplotlib", "PIL", "pydantic", "typer", "rich", "yaml", "tensorboard",
    "safetensors", "numba", "triton", "torchvision", "huggingface_hub", "onnx", "onnxscript", "onnxruntime",
)  # fmt: skip


def test_import_loads_nothing_optional_and_warns_of_nothing() -> None:
    code = f"import sys, segaware; print([name for name in {OPTIONAL} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_public_names() -> None:
    assert sorted(segaware.__all__) == [
        "BilateralFilter2d",
        "Denormalize",
        "DenseCRF",
        "EmbeddingNet",
        "PairLoss",
        "SegAwareCRF",
        "SegAwareConv2d",
        "SharedDistances",
        "attention_mask",
        "convert",
        "dense_crf",
        "embedding_distance",
        "export_onnx",
        "load_embedding",
        "refine",
        "revert",
        "segaware_conv2d",
        "segaware_filter2d",
        "use_backend",
    ]
    assert sorted(segaware.ops.__all__) == [
        "PermutohedralLattice",
        "attention_mask",
        "correlation",
        "embedding_distance",
        "mean_field",
        "segaware_conv2d",
        "segaware_filter2d",
        "segaware_median2d",
        "segaware_upsample",
        "use_backend",
    ]
    assert sorted(segaware.nn.__all__) == [
        "BilateralFilter2d",
        "ColorEmbedding",
        "DenseCRF",
        "Embedding",
        "EmbeddingNet",
        "FastEmbeddingNet",
        "GuidedFilter",
        "MaskLoss",
        "MultiscaleEndPointLoss",
        "OffsetPairLoss",
        "PairLoss",
        "ReleasedEmbedding",
        "SegAwareCRF",
        "SegAwareConv2d",
        "SegAwareUpsample",
        "SharedDistances",
        "certainty_gate",
        "clamp_hardness",
        "dense_crf",
        "edge_filter",
        "load_embedding",
        "load_vgg_weights",
        "parameter_groups",
        "prune_embedding",
        "read_vgg_weights",
        "resample",
        "upsample",
    ]
    for room in (segaware, segaware.ops, segaware.nn):
        assert all(hasattr(room, name) for name in room.__all__)
