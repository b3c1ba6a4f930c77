import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from segaware.data import DataError
from segaware.data.voc_submission import pack_voc_submission, write_voc_submission

NAMES = ["2008_000006", "2008_000011", "2010_000001"]
RESULTS = "results/VOC2012/Segmentation/comp6_test_cls"


def predictions(dtype=torch.int64):
    generator = torch.Generator().manual_seed(0)
    return [(name, torch.randint(0, 21, (5, 7 + i), generator=generator).to(dtype)) for i, name in enumerate(NAMES)]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_writes_what_the_server_reads(tmp_path, dtype):
    # A generator: one prediction at a time.
    write_voc_submission((pair for pair in predictions(dtype)), tmp_path / "new", NAMES)
    folder = tmp_path / "new" / RESULTS
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.png" for name in NAMES]
    for name, prediction in predictions():
        image = Image.open(folder / f"{name}.png")
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), prediction.numpy())
        # VOC's colours of aeroplane, person and tvmonitor.
        palette = np.array(image.getpalette()).reshape(-1, 3)
        assert palette[[0, 1, 15, 20]].tolist() == [[0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128]]


def test_without_names_any_image_is_written(tmp_path):
    write_voc_submission(predictions(), tmp_path)
    assert len(list((tmp_path / RESULTS).iterdir())) == 3


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (torch.full((2, 2), 255), r"'2010_000001' must hold classes in 0\.\.20, got 255"),
        (torch.full((2, 2), 21), r"must hold classes in 0\.\.20, got 21"),
        (torch.full((2, 2), -1), r"must hold classes in 0\.\.20, got -1"),
        (torch.zeros(2, 2), r"must be integers \(H, W\), got torch.float32 \(2, 2\)"),
        (torch.zeros(2, 2, dtype=torch.bool), r"must be integers \(H, W\), got torch.bool"),
        (torch.zeros(1, 2, 2, dtype=torch.int64), r"must be integers \(H, W\), got torch.int64 \(1, 2, 2\)"),
    ],
)
def test_wrong_prediction_is_named_and_not_written(tmp_path, prediction, message):
    with pytest.raises(ValueError, match=message):
        write_voc_submission([*predictions()[:2], (NAMES[2], prediction)], tmp_path, NAMES)
    assert sorted(path.stem for path in (tmp_path / RESULTS).iterdir()) == NAMES[:2]
    with pytest.raises(DataError, match=r"2010_000001\.png: no such file, wanted by names; 1 are missing"):
        pack_voc_submission(tmp_path, NAMES)
    assert not (tmp_path / "results.tgz").exists()


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (NAMES[:1], NAMES, r"every image of names, but '2008_000011' is missing, of 2"),
        ([], NAMES, r"'2008_000006' is missing, of 3"),
        (["2007_000001"], NAMES, "must be of the images in names, got '2007_000001'"),
        ([NAMES[0], NAMES[0]], NAMES, "must hold each image once, but '2008_000006' comes twice"),
        (["../2008_000006"], None, r"must name images as files are named, got '\.\./2008_000006'"),
        ([""], None, "must name images as files are named, got ''"),
    ],
)
def test_wrong_names_are_named(tmp_path, names, wanted, message):
    flat = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        write_voc_submission([(name, flat) for name in names], tmp_path, wanted)


def test_archive_holds_the_results_and_nothing_else(tmp_path):
    write_voc_submission(predictions(), tmp_path, NAMES)
    (tmp_path / RESULTS / "notes.txt").write_text("not mine")
    assert pack_voc_submission(tmp_path, NAMES) == tmp_path / "results.tgz"
    with tarfile.open(tmp_path / "results.tgz", "r:gz") as tar:
        assert tar.getnames() == [f"{RESULTS}/{name}.png" for name in NAMES]
        for name in NAMES:
            content = tar.extractfile(f"{RESULTS}/{name}.png").read()
            assert content == (tmp_path / RESULTS / f"{name}.png").read_bytes()


def test_results_of_other_images_are_refused(tmp_path):
    write_voc_submission(predictions(), tmp_path)
    with pytest.raises(DataError, match=r"2010_000001\.png: is not of names; 1 are not"):
        pack_voc_submission(tmp_path, NAMES[:2])
    with pytest.raises(DataError, match="no such file, wanted by names; 3 are missing"):
        pack_voc_submission(tmp_path / "elsewhere", NAMES)


def test_failed_packing_keeps_the_old_archive_and_leaves_nothing_else(tmp_path, monkeypatch):
    write_voc_submission(predictions(), tmp_path, NAMES)
    old = pack_voc_submission(tmp_path, NAMES).read_bytes()

    def full_disk(self, name, arcname):
        raise OSError("disk full")

    monkeypatch.setattr(tarfile.TarFile, "add", full_disk)
    with pytest.raises(OSError, match="disk full"):
        pack_voc_submission(tmp_path, NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "results.tgz"]
    assert (tmp_path / "results.tgz").read_bytes() == old
