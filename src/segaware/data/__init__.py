"""Data sets in their own layouts, joint transforms, and procedural scenes."""

from segaware.data.bsds500 import BSDS500
from segaware.data.camvid import CamVid
from segaware.data.images import DataError, check_pair, find_pairs, read_image, read_label, to_sample, write_png
from segaware.data.palettes import CAMVID_PALETTE, SCENES_PALETTE, palette_for, voc_palette
from segaware.data.registry import DatasetInfo, DatasetName, build_dataset, dataset_info
from segaware.data.sample import IGNORE_INDEX, Sample, Transform
from segaware.data.scenes import Scenes, generate_scene
from segaware.data.transforms import ColorJitter, Compose, RandomCrop, RandomFlip, RandomScale
from segaware.data.voc import VOC, VOC_ANIMALS, VOC_CLASSES

__all__ = [
    "BSDS500",
    "CAMVID_PALETTE",
    "IGNORE_INDEX",
    "SCENES_PALETTE",
    "VOC",
    "VOC_ANIMALS",
    "VOC_CLASSES",
    "CamVid",
    "ColorJitter",
    "Compose",
    "DataError",
    "DatasetInfo",
    "DatasetName",
    "RandomCrop",
    "RandomFlip",
    "RandomScale",
    "Sample",
    "Scenes",
    "Transform",
    "build_dataset",
    "check_pair",
    "dataset_info",
    "find_pairs",
    "generate_scene",
    "palette_for",
    "read_image",
    "read_label",
    "to_sample",
    "voc_palette",
    "write_png",
]
