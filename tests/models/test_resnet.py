"""The dilated ResNet-101 against torchvision's, whose maps it has at every pixel that a stride passes over."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.architectures import find_libraries
from segaware.models import DeepLabV2
from segaware.models.resnet import FrozenBatchNorm2d, ResNet101


def torchvision_resnet() -> nn.Module:
    find_libraries()
    from torchvision.models import resnet101

    network = resnet101()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    return torchvision_resnet()


@torch.no_grad()
def blocks(network: Any, x: Tensor, *shared: None) -> list[Tensor]:
    maps = [network.bn1(network.conv1(x)).relu()]
    x = torch.max_pool2d(maps[0], 3, 2, 1)
    for block in (network.layer1, network.layer2, network.layer3, network.layer4):
        for unit in block:
            x = unit(x, *shared)
        maps.append(x)
    return maps


@pytest.mark.parametrize("stride_in", ["3x3", "1x1"])
@pytest.mark.parametrize("size", [(33, 47), (40, 32)])
def test_maps_are_torchvision_s_where_it_has_pixels(stride_in: Any, size: tuple[int, int], theirs: nn.Module) -> None:
    ours = ResNet101(stride_in=stride_in)
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert missing == []
    assert {name.split(".")[0] for name in unexpected if not name.endswith("num_batches_tracked")} == {"fc"}
    first, second = (2, 1) if stride_in == "1x1" else (1, 2)  # of Caffe, and of torchvision
    for block in (theirs.layer2, theirs.layer3, theirs.layer4):
        block[0].conv1.stride, block[0].conv2.stride = (first, first), (second, second)
    image = torch.randn(1, 3, *size)
    maps = blocks(ours, image, None)
    for found, wanted, step in zip(maps, blocks(theirs, image), (1, 1, 1, 2, 4), strict=True):
        found = found[..., ::step, ::step]
        assert wanted.std() > 0.01
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())
    assert torch.equal(ours(image), maps[-1])
    assert maps[-1].shape == (1, 2048, -(-size[0] // 8), -(-size[1] // 8))


def test_dilations_and_strides() -> None:
    found = {}
    for stride_in in ("1x1", "3x3"):
        network = ResNet101(0.0625, stride_in)  # type: ignore[arg-type]
        units = [unit for block in range(1, 5) for unit in network.get_submodule(f"layer{block}")]  # type: ignore[union-attr]
        found[stride_in] = [(u.conv1.stride[0], u.conv2.stride[0], u.conv2.dilation[0], u.conv2_stride) for u in units]
    caffe = [*[(1, 1, 1, 4)] * 3, (2, 1, 1, 8), *[(1, 1, 1, 8)] * 3, *[(1, 1, 2, 8)] * 23, *[(1, 1, 4, 8)] * 3]
    assert found["1x1"] == caffe
    differ = {3: (1, 2, 1, 4), 7: (1, 1, 1, 8), 30: (1, 1, 2, 8)}
    assert found["3x3"] == [differ.get(i, unit) for i, unit in enumerate(caffe)]


def test_features_of_an_untrained_network_keep_their_size() -> None:
    image = torch.randn(1, 3, 65, 65)
    assert 0.1 < ResNet101(0.125)(image).std() < 10


def test_pixels_stay_where_they_are() -> None:
    """A mirrored image has mirrored features at sizes 8n + 1, if the filters are mirror images of themselves."""
    network = ResNet101(0.0625)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight + module.weight.flip(-1)
            module.weight.data /= 2
    image = torch.randn(1, 3, 33, 41)
    torch.testing.assert_close(network(image.flip(-1)), network(image).flip(-1), rtol=1e-4, atol=1e-5)


def test_frozen_batch_norm_is_batch_norm_in_evaluation_mode() -> None:
    norm, frozen = nn.BatchNorm2d(5), FrozenBatchNorm2d(5)
    norm(torch.randn(4, 5, 6, 6) * 3 + 1)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    state = norm.state_dict()
    del state["num_batches_tracked"]
    frozen.load_state_dict(state)
    image = torch.randn(2, 5, 7, 7)
    torch.testing.assert_close(frozen.train()(image), norm.eval()(image))
    assert not list(frozen.parameters())
    assert all(torch.equal(value, state[name]) for name, value in frozen.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 0.01}, "width must leave at least one"), ({"stride_in": "7x7"}, "stride_in must be one of .*'7x7'")],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet101(**options)


def test_imagenet_weights_from_a_file(tmp_path: Path) -> None:
    source, network = DeepLabV2(3, 0.0625), DeepLabV2(3, 0.0625, stride_in="3x3", batch_norm="trained")
    torch.save(source.trunk.state_dict() | {"fc.weight": torch.zeros(1000, 128)}, tmp_path / "resnet.pth")
    network.load_resnet(tmp_path / "resnet.pth")
    for name, tensor in source.trunk.state_dict().items():
        assert torch.equal(network.trunk.state_dict()[name], tensor), name


def test_imagenet_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    network = DeepLabV2(3, 0.0625)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors = {name: tensor + 1 for name, tensor in network.trunk.state_dict().items()}
    del tensors["layer4.2.conv3.weight"]
    torch.save(tensors, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"^ResNet weights: layer4.2.conv3.weight needs shape .* has nothing"):
        network.load_resnet(tmp_path / "resnet.pth")
    (tmp_path / "resnet.safetensors").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"^ResNet weights: .*resnet.safetensors is not a file of tensors"):
        network.load_resnet(tmp_path / "resnet.safetensors")
    with pytest.raises(FileNotFoundError, match=r"^ResNet weights: no file .*none.pth"):
        network.load_resnet(tmp_path / "none.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
