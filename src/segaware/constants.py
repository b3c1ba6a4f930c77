"""Constants of the field that several rooms share."""

from __future__ import annotations

import signal

IGNORE_INDEX = 255
"""The label of pixels whose class is not known, as in PASCAL VOC."""

GROUND_INDEX = 254
"""The label of pixels behind objects where embeddings are trained: unlike every region, but two of them need not be
alike."""

# Of RGB in 0..1, over the photographs of ImageNet: inputs of pretrained networks are normalised by these.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Middlebury's and Sintel's .flo files: flow is unknown if |u| or |v| is above UNKNOWN_FLOW_THRESH, 1e9, in their code.
UNKNOWN_FLOW_THRESHOLD = 1e9  # pixels
UNKNOWN_FLOW = 1666666752.0  # what Middlebury's files hold there

ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Signals that end work when nothing is half done: Ctrl-C, that of queues, and SLURM's warning, unknown to Windows."""
