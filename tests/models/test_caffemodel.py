"""Reading .caffemodel files, whole and damaged."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segaware.models import read_caffemodel

from .caffe_files import blob, chunk, layer, number, varint, write_caffemodel


@pytest.fixture
def layers() -> dict[str, list[Tensor]]:
    return {
        "conv1": [torch.randn(4, 3, 3, 3), torch.randn(4)],
        "bn": [torch.rand(4), torch.rand(4), torch.tensor([0.5])],
        "fc": [torch.randn(5, 200)],
    }


def save(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def assert_equal(found: dict[str, list[Tensor]], expected: dict[str, list[Tensor]]) -> None:
    assert list(found) == list(expected)
    for name, blobs in expected.items():
        assert [b.shape for b in found[name]] == [b.shape for b in blobs]
        assert all(torch.equal(b, e) and b.dtype == e.dtype for b, e in zip(found[name], blobs, strict=True))


def test_layers_with_weights(tmp_path: Path, layers: dict[str, list[Tensor]]) -> None:
    path = write_caffemodel(tmp_path / "net.caffemodel", layers)
    assert_equal(read_caffemodel(path), layers)
    assert_equal(read_caffemodel(str(path)), layers)


def test_old_layers_have_blobs_of_four_dimensions(tmp_path: Path, layers: dict[str, list[Tensor]]) -> None:
    path = write_caffemodel(tmp_path / "net.caffemodel", layers, kind="old")
    four = {name: [b.reshape((1,) * (4 - b.dim()) + b.shape) for b in blobs] for name, blobs in layers.items()}
    assert_equal(read_caffemodel(path), four)


def test_double_precision(tmp_path: Path) -> None:
    layers = {"conv": [torch.randn(2, 3, dtype=torch.float64)]}
    assert_equal(read_caffemodel(write_caffemodel(tmp_path / "net.caffemodel", layers)), layers)


def test_gradients_and_unknown_fields_are_passed_over(tmp_path: Path) -> None:
    weight = torch.randn(2, 3)
    unknown = chunk(6, b"\x00" * 24) + varint(77 << 3 | 1) + b"\x01" * 8 + varint(78 << 3 | 5) + b"\x02" * 4
    path = save(tmp_path / "net.caffemodel", number(5, 1), layer("fc", [blob(weight, extra=unknown)]), unknown)
    assert_equal(read_caffemodel(path), {"fc": [weight]})


def test_numbers_in_several_fields_and_one_by_one(tmp_path: Path) -> None:
    weight = torch.randn(2, 3)
    content = weight.numpy().tobytes()
    shape = chunk(7, number(1, 2) + number(1, 3))
    halves = shape + chunk(5, content[:8]) + chunk(5, b"") + chunk(5, content[8:])
    single = shape + b"".join(varint(5 << 3 | 5) + content[i : i + 4] for i in range(0, 24, 4))
    path = save(tmp_path / "net.caffemodel", layer("a", [halves]), layer("b", [single]))
    assert_equal(read_caffemodel(path), {"a": [weight], "b": [weight]})


def test_shape_of_a_scalar_of_an_empty_and_of_a_blob_without(tmp_path: Path) -> None:
    one, empty = torch.tensor(2.5), torch.empty(0)
    bare = chunk(5, torch.arange(3.0).numpy().tobytes())
    path = save(tmp_path / "net.caffemodel", layer("a", [blob(one), chunk(7, b"") + blob(one), blob(empty), bare]))
    assert_equal(read_caffemodel(path), {"a": [one[None], one, empty, torch.arange(3.0)]})


def test_weights_at_any_byte(tmp_path: Path) -> None:
    weight, image = torch.randn(8, 8, 3, 3), torch.randn(1, 8, 9, 9)
    addresses = set()
    for length in (1, 2, 3, 4):
        path = save(tmp_path / "net.caffemodel", layer("fc", [chunk(99, b"a" * length) + blob(weight)]))
        (found,) = read_caffemodel(path)["fc"]
        addresses.add(found.data_ptr() % 4)
        assert torch.equal(torch.conv2d(image, found), torch.conv2d(image, weight))
        assert torch.equal(found.sum((1, 2, 3)), weight.sum((1, 2, 3)))
        assert torch.equal(torch.empty_like(weight).copy_(found), weight)
    assert addresses == {0, 1, 2, 3}


def test_writing_to_a_tensor_leaves_the_file_alone(tmp_path: Path, layers: dict[str, list[Tensor]]) -> None:
    path = write_caffemodel(tmp_path / "net.caffemodel", layers)
    read_caffemodel(path)["fc"][0].zero_()
    assert_equal(read_caffemodel(path), layers)


def test_tensors_are_views_of_the_file_and_outlive_its_name(tmp_path: Path, layers: dict[str, list[Tensor]]) -> None:
    path = write_caffemodel(tmp_path / "net.caffemodel", layers)
    found, content = read_caffemodel(path), path.read_bytes()
    path.unlink()
    tensors = [b for blobs in found.values() for b in blobs]
    base = {b.data_ptr() - content.index(b.numpy().tobytes()) for b in tensors}
    assert len(base) == 1
    assert_equal(found, layers)


def test_a_file_cut_off_anywhere_has_one_error_or_fewer_layers(tmp_path: Path, layers: dict[str, list[Tensor]]) -> None:
    del layers["fc"]
    content = write_caffemodel(tmp_path / "net.caffemodel", layers).read_bytes()
    whole = 0
    for length in range(1, len(content)):
        path = save(tmp_path / "cut.caffemodel", content[:length])
        try:
            found = read_caffemodel(path)
        except ValueError as error:
            assert str(error).startswith(f"Caffe weights: {path} is ")
        else:
            whole += 1
            assert list(found) == list(layers)[: len(found)]
    assert whole == 2  # right after the first layer, and right after the second


def test_damaged_bytes_have_one_error(tmp_path: Path, layers: dict[str, list[Tensor]]) -> None:
    content = write_caffemodel(tmp_path / "net.caffemodel", layers).read_bytes()
    chosen, failed = random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[chosen.randrange(200)] = chosen.randrange(256)
        path = save(tmp_path / "damaged.caffemodel", bytes(damaged))
        try:
            read_caffemodel(path)
        except ValueError as error:
            assert str(error).startswith(f"Caffe weights: {path} is ")
            failed += 1
    assert failed > 30


WEIGHT = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'name: "VGG"\nlayer {\n  name: "conv1"\n}\n', "is text; a .prototxt describes a network"),
        ("# Caffés network\nlayers { }".encode(), "is text; a .prototxt"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "is not a .caffemodel"),
        (b"PK\x03\x04" + bytes(64), "is not a .caffemodel"),
        ((96).to_bytes(8, "little") + b'{"a":{}}', "is not a .caffemodel"),
        (chunk(1, b"solver"), "is not a .caffemodel: it holds no layer with weights"),
        (layer("conv", []), "is not a .caffemodel: it holds no layer with weights"),
        (layer("a", [blob(WEIGHT)]) * 2, "two layers are named 'a'"),
        (layer("a", [blob(WEIGHT)])[:-3], "cut off or damaged: .* bytes from byte .* on go beyond byte"),
        (layer("a", [chunk(7, chunk(1, b"\x02\x04")) + blob(WEIGHT)[6:]]), r"blob a\[0\] has 6 numbers for shape"),
        (layer("a", [chunk(7, chunk(1, varint(2**63))) + blob(WEIGHT)[6:]]), r"blob a\[0\] has 6 numbers for shape"),
        (layer("a", [chunk(5, b"\x00" * 7)]), r"blob a\[0\] ends within a number"),
        (layer("a", [number(5, 3)]), "there is a number, 3, where there should be a message"),
        (chunk(100, chunk(1, b"\xff\xfe") + chunk(7, blob(WEIGHT))), "the name of a layer at byte .* is no text"),
        (number(100, 3), "there is a number, 3, where there should be a message"),
        (chunk(100, b"\x0b"), "at byte 3 begins no field"),
        (chunk(100, b"\x02\x00"), "at byte 3 begins no field"),
        (chunk(100, b"\xff" * 12), "at byte 3 begins no number"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = save(tmp_path / "net.caffemodel", content)
    with pytest.raises(ValueError, match=message) as error:
        read_caffemodel(path)
    assert str(error.value).startswith(f"Caffe weights: {path} ")
    assert "\n" not in str(error.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Caffe weights: no file .*net.caffemodel"):
        read_caffemodel(tmp_path / "net.caffemodel")
