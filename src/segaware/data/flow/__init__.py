"""Optical flow: data sets in their own layouts, joint transforms, and generated pairs."""

from segaware.data.flow.files import (
    known_flow,
    read_flo,
    read_kitti_flow,
    read_pfm,
    write_flo,
    write_kitti_flow,
    write_pfm,
)
from segaware.data.flow.flying_chairs import FlyingChairs
from segaware.data.flow.flying_shapes import FlyingRegions, FlyingShapes, generate_pair
from segaware.data.flow.flying_things3d import FlyingThings3D
from segaware.data.flow.frames import Frames, open_frames
from segaware.data.flow.kitti import KITTI
from segaware.data.flow.middlebury import Middlebury
from segaware.data.flow.sample import FlowSample, FlowTransform
from segaware.data.flow.sintel import Sintel
from segaware.data.flow.transforms import (
    FlowColorJitter,
    FlowRandomAffine,
    FlowRandomCrop,
    FlowRandomFlip,
)

__all__ = [
    "KITTI",
    "FlowColorJitter",
    "FlowRandomAffine",
    "FlowRandomCrop",
    "FlowRandomFlip",
    "FlowSample",
    "FlowTransform",
    "FlyingChairs",
    "FlyingRegions",
    "FlyingShapes",
    "FlyingThings3D",
    "Frames",
    "Middlebury",
    "Sintel",
    "generate_pair",
    "known_flow",
    "open_frames",
    "read_flo",
    "read_kitti_flow",
    "read_pfm",
    "write_flo",
    "write_kitti_flow",
    "write_pfm",
]
