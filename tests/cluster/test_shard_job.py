"""A job for the samples of shards, in this process."""

import io
from pathlib import Path

import pytest

from segaware.cluster.job import Failure, Files
from segaware.cluster.places import Place
from segaware.cluster.shard_job import Samples, ShardJob
from segaware.cluster.shards import Column, find_shards, is_shards
from segaware.data import DataError
from tests.cluster.shard_files import read_tar, write_tar

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
NPY = b"\x93NUMPY"


class Join:
    """Writes what it reads, one after the other; b"bad" fails."""

    def open(self) -> None:
        pass

    def __call__(self, files: Files) -> Failure | None:
        contents = [file.read_bytes() for file in files[:-1]]
        if b"bad" in contents:
            return Failure(f"{files[0]}: is bad")
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_bytes(b"+".join(contents))
        return None


BESIDE = Column("seg.npy")


def job(out: object, column: Column = BESIDE, suffix: str = ".npy", keeps: tuple[str, ...] = ()) -> ShardJob:
    return ShardJob(Join(), column, str(out), suffix, keeps)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    samples = {
        "x/a": {"jpg": b"A", "seg.npy": b"1", "json": b"{}"},
        "x/b": {"JPG": b"bad", "seg.npy": b"2"},
        "x/c": {"png": b"C", "cls": b"7"},
        "x/d": {"jpg": b"D", "png": b"E", "seg.npy": b"4"},
        "y/a": {"seg.npy": b"5", "webp": b"F"},
    }
    write_tar(folder / "0.tar", samples)
    return folder


def test_a_tar_has_outputs_in_the_place_of_images(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = job(out)(f"file://{shards}/0.tar")
    assert isinstance(result, Samples) and result.images == 5
    reasons = dict(result.failed)
    assert reasons["x/b"] == "x_b.JPG: is bad"
    assert "no .seg.npy beside the image, but files of png, cls" in reasons["x/c"]
    assert "must have one image, got files of jpg, png, seg.npy" in reasons["x/d"]
    assert read_tar(out / "0.tar") == {"x/a.json": b"{}", "x/a.seg.npy": b"A+1", "y/a.seg.npy": b"F+5"}
    assert (out / "0.tar.failed.csv").read_text().startswith("shard,sample,error\n0.tar,x/b,x_b.JPG: is bad\n")


def test_the_suffix_of_outputs(shards: Path, tmp_path: Path) -> None:
    job(tmp_path / "png", suffix=".png")(f"{shards}/0.tar")
    assert read_tar(tmp_path / "png" / "0.tar").keys() == {"x/a.json", "x/a.seg.png", "y/a.seg.png"}
    job(tmp_path / "kept", suffix=".png", keeps=(".npy",))(f"{shards}/0.tar")
    assert "x/a.seg.npy" in read_tar(tmp_path / "kept" / "0.tar")
    job(tmp_path / "label", Column(None, "label"), ".png")(f"{shards}/0.tar")
    assert read_tar(tmp_path / "label" / "0.tar")["y/a.label.png"] == b"F"


def test_parquet_keeps_the_other_columns(tmp_path: Path) -> None:
    rows = [
        {"image": b"bad" if i == 3 else b"%d" % i, "scores": NPY + b"%d" % i, "id": i, "when": [0.5, i]}
        for i in range(20)
    ]
    table = pyarrow.Table.from_pylist([*rows, {"image": None, "scores": b"x", "id": 20, "when": []}])
    parquet.write_table(table, tmp_path / "0.parquet", row_group_size=6)
    out = tmp_path / "out"
    result = job(out, Column("scores"))(f"{tmp_path}/0.parquet")
    assert isinstance(result, Samples) and [key for key, _ in result.failed] == ["3", "20"]
    assert "column 'image' must hold a file's bytes, got NoneType" in result.failed[1][1]
    made = parquet.read_table(out / "0.parquet").to_pylist()
    wanted = [{**row, "scores": row["image"] + b"+" + row["scores"]} for row in rows if row["id"] != 3]
    for row in wanted:
        del row["image"]
    assert made == wanted


def test_a_shard_behind_a_url(shards: Path) -> None:
    given = Place("memory://given")
    with given.below("0.tar").replaced() as temporary:
        temporary.write_bytes((shards / "0.tar").read_bytes())
    with given.below("note.txt").replaced() as temporary:
        temporary.write_bytes(b"no shard")
    assert is_shards("memory://given") and is_shards(str(shards)) and not is_shards(str(shards.parent))
    [url] = find_shards(given)
    job("memory://out/deep")(url)
    out = Place("memory://out/deep")
    assert out.names() == {"0.tar", "0.tar.failed.csv"}
    with out.below("0.tar").open() as file:
        (shards / "copy.tar").write_bytes(file.read())
    assert read_tar(shards / "copy.tar")["x/a.seg.npy"] == b"A+1"


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_shard_has_no_output(shards: Path, tmp_path: Path, suffix: str, cut: bool) -> None:
    parquet.write_table(pyarrow.table({"image": [b"A"] * 500, "seg.npy": [b"1"] * 500}), shards / "0.parquet")
    shard, out = shards / f"0{suffix}", tmp_path / "out"
    whole = shard.read_bytes()
    assert isinstance(job(out)(str(shard)), Samples)
    (out / shard.name).unlink()
    shard.write_bytes(whole[: len(whole) // 2 // 512 * 512 + 300] if cut else b"damaged" * 200)
    result = job(out)(str(shard))
    assert isinstance(result, Failure) and result.reason
    assert not (out / shard.name).exists()


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"image": [b"A"], "mask": [b"1"]}), tmp_path / "0.parquet")
    result = job(tmp_path / "out", Column("scores"))(f"{tmp_path}/0.parquet")
    assert result == Failure("there is no column 'scores', but image, mask")


def test_no_shards(tmp_path: Path) -> None:
    for url in (f"{tmp_path}/none", f"{tmp_path}", "memory://none"):
        with pytest.raises(DataError, match="no shard, and no folder that holds any"):
            find_shards(Place(url))
    with pytest.raises(ValueError, match="nothing"):
        Place("nothing://there")
    (tmp_path / "0.tar").write_bytes(io.BytesIO().read())
    assert find_shards(Place(f"{tmp_path}")) == [f"file://{tmp_path}/0.tar"]


def test_an_output_that_cannot_be_written_is_no_matter_of_the_shard(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        job(tmp_path / "file" / "out")(f"{shards}/0.tar")
