"""Data sets in their own layouts, joint transforms, and procedural scenes."""

from segaware.constants import GROUND_INDEX, IGNORE_INDEX
from segaware.data import flow as flow  # its data sets are registered
from segaware.data.bsds500 import BSDS500
from segaware.data.camvid import CamVid
from segaware.data.coarse_scores import COARSE_STRIDE, coarse_scores
from segaware.data.coco import COCO
from segaware.data.everyday import Everyday
from segaware.data.folders import IMAGE_SUFFIXES, files_by_stem, has_suffix
from segaware.data.images import (
    check_pair,
    find_pairs,
    photograph,
    photograph_logits,
    read_image,
    read_label,
    to_sample,
    write_png,
)
from segaware.data.mixture import Mixture
from segaware.data.palettes import class_palette, voc_palette
from segaware.data.predictions import Predictions
from segaware.data.reading import DataError, reading
from segaware.data.registry import DatasetRecord, Split, dataset, dataset_names, register_dataset
from segaware.data.sample import PredictedSample, Sample, ScoredSample, Transform
from segaware.data.sbd import SBD, VOCTrainAug
from segaware.data.scenes import Scenes, generate_scene
from segaware.data.transforms import ColorJitter, Compose, RandomCrop, RandomFlip, RandomScale
from segaware.data.voc import VOC, VOC_ANIMALS, VOC_CLASSES
from segaware.data.voc_submission import pack_voc_submission, write_voc_submission

__all__ = [
    "BSDS500",
    "COARSE_STRIDE",
    "COCO",
    "GROUND_INDEX",
    "IGNORE_INDEX",
    "IMAGE_SUFFIXES",
    "SBD",
    "VOC",
    "VOC_ANIMALS",
    "VOC_CLASSES",
    "CamVid",
    "ColorJitter",
    "Compose",
    "DataError",
    "DatasetRecord",
    "Everyday",
    "Mixture",
    "PredictedSample",
    "Predictions",
    "RandomCrop",
    "RandomFlip",
    "RandomScale",
    "Sample",
    "Scenes",
    "ScoredSample",
    "Split",
    "Transform",
    "VOCTrainAug",
    "check_pair",
    "class_palette",
    "coarse_scores",
    "dataset",
    "dataset_names",
    "files_by_stem",
    "find_pairs",
    "generate_scene",
    "has_suffix",
    "pack_voc_submission",
    "photograph",
    "photograph_logits",
    "read_image",
    "read_label",
    "reading",
    "register_dataset",
    "to_sample",
    "voc_palette",
    "write_png",
    "write_voc_submission",
]
