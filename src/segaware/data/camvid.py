"""CamVid street video with the eleven classes of SegNet (Brostow et al. 2009, Badrinarayanan et al. 2017)."""

from pathlib import Path
from typing import Literal

from torch.utils.data import Dataset

from segaware.data.images import check_pair, find_pairs, read_image, read_label, to_sample
from segaware.data.sample import Sample, Transform


class CamVid(Dataset[Sample]):
    """Street scenes with a class index for each pixel, 255 where unlabelled.

    Reads `root/camvid/images/SPLIT/NAME.jpg` (or any of `IMAGE_SUFFIXES`, in any case) and
    `root/camvid/labels/SPLIT/NAME.png`. That every image has its label is checked here, at construction; the contents
    of a file when it is read.

    Args:
        root: Folder that holds `camvid/`.
        split: `"train"` or `"val"`.
        transform: Applied to each sample.

    Raises:
        DataError: A folder or file is missing, or two files have one stem; on access, a file is broken or a label does
            not fit its image.
        ValueError: `split` is unknown.
    """

    classes: tuple[str, ...] = (
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    )
    num_classes = 11

    def __init__(self, root: str | Path, split: Literal["train", "val"], transform: Transform | None = None) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', got {split!r}")
        folder = Path(root) / "camvid"
        self.pairs = find_pairs(folder / "images" / split, folder / "labels" / split, ".png")
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        image_path, label_path = self.pairs[index]
        image, label = read_image(image_path), read_label(label_path, self.num_classes)
        check_pair(image, label, label_path)
        sample = to_sample(image, label, image_path.stem)
        return self.transform(sample) if self.transform else sample
