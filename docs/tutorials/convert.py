# %% [markdown]
# # Make your network segmentation-aware
#
# `segaware.convert` turns the convolutions of any network into segmentation-aware ones, with the same weights, and
# `segaware.BilateralFilter2d` sharpens its scores at the end. This page does both with a small network, trains it on,
# and compares it with the plain network trained for as many steps. It takes a minute or two on a CPU.

# %%
import copy

import torch
import torch.nn.functional as F
from torch import nn

import segaware
from segaware.data import Scenes, voc_palette, write_png
from segaware.metrics import MeanIoU, TrimapIoU
from segaware.nn import clamp_hardness, upsample
from segaware.viz import colorize, side_by_side

SCENES, HELD_OUT = 240, 40  # images to train on, and to measure on
STEPS, EXTRA_STEPS = 300, 100  # of training the plain network, and then of each variant

torch.manual_seed(0)


def stack(scenes):
    return torch.stack([scene.image for scene in scenes]), torch.stack([scene.label for scene in scenes])


images, labels = stack(Scenes(SCENES))
held_out = stack(Scenes(HELD_OUT, seed=1))

# %% [markdown]
# ## A network
#
# A small U-Net: three strided convolutions, and two steps up that see the features of the way down. Its scores are at
# every second pixel.


# %%
def conv(inputs, outputs, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class UNet(nn.Module):
    def __init__(self, classes, width=16):
        super().__init__()
        self.down1 = conv(3, width, stride=2)
        self.down2 = conv(width, 2 * width, stride=2)
        self.down3 = nn.Sequential(conv(2 * width, 4 * width, stride=2), conv(4 * width, 4 * width))
        self.up2 = conv(6 * width, 2 * width)
        self.up1 = conv(3 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image):
        fine = self.down1(image)
        middle = self.down2(fine)
        coarse = self.down3(middle)
        middle = self.up2(torch.cat([middle, upsample(coarse, 2, middle.shape[2:])], 1))
        return self.head(self.up1(torch.cat([fine, upsample(middle, 2, fine.shape[2:])], 1)))


class Segmenter(nn.Module):
    """Scores of every pixel: a network's at stride 2, filtered if there is an embedding, and upsampled."""

    def __init__(self, network, embedding=None):
        super().__init__()
        self.network, self.embedding = network, embedding
        self.filter = segaware.BilateralFilter2d(9, iterations=2) if embedding is not None else None

    def forward(self, image):
        scores = self.network(image)
        if self.filter is not None:
            scores = self.filter(scores, self.embedding(image)[:, :, ::2, ::2])  # the embedding of every second pixel
        return upsample(scores, 2, image.shape[2:])


# %% [markdown]
# ## Training and measuring
#
# The loop is an ordinary one, but for its last line: a hardness that a step has pushed below 0 is set to 0. `seed`
# chooses the batches, so that all variants see the same.


# %%
def train(model, steps, rate, seed):
    batches = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    model.train()
    for _ in range(steps):
        chosen = torch.randint(len(images), (8,), generator=batches)
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        clamp_hardness(model)


@torch.inference_mode()
def predict(model):
    model.eval()
    return torch.cat([model(batch).argmax(1) for batch in held_out[0].split(8)])


def measure(name, model):
    everywhere, border = MeanIoU(num_classes=6), TrimapIoU(num_classes=6, half_widths=(3,))
    for metric in (everywhere, border):
        metric.update(predict(model), held_out[1])
    print(f"{name:28s} mIoU {100 * everywhere.compute():.1f}, within 3 px {100 * border.compute().item():.1f}")


plain = UNet(classes=6)
train(Segmenter(plain), STEPS, 1e-2, seed=0)
measure("plain", Segmenter(plain))

# %% [markdown]
# ## An embedding
#
# Masks compare embeddings, here those of a small network that is trained on the same label maps and then kept as it
# is; [Train an embedding on your label maps](embedding.md) explains how. For photographs,
# `segaware.load_embedding()` loads one that comes with the package.

# %%
embedding = segaware.EmbeddingNet(width=0.25, dim=16)
embedding.calibrate(images[:8])
loss_of = segaware.PairLoss()
optimizer = torch.optim.AdamW(embedding.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=STEPS // 2)
for _ in range(STEPS // 2):
    chosen = torch.randint(len(images), (8,))
    top, left = torch.randint(33, (2,)).tolist()
    window = (..., slice(top, top + 64), slice(left, left + 64))
    loss = loss_of(embedding(images[chosen][window]), labels[chosen][window])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
embedding.requires_grad_(False)
print(f"pair loss {loss.item():.2f}")

# %% [markdown]
# ## Conversion
#
# At hardness 0, where conversion starts unless told otherwise, the converted network computes what the plain one
# does; from there training finds what masks are good for. `report` says what was converted, and what it costs.

# %%
converted = segaware.convert(plain, embedding)
plain.eval(), converted.eval()
with torch.no_grad():
    difference = (converted(held_out[0][:4]) - plain(held_out[0][:4])).abs().max()
print(f"largest difference to the plain network: {difference:.0e}")
print(converted.report(held_out[0][:1]))

# %% [markdown]
# ## Training on
#
# The control is the plain network that trains the same further steps on the same batches.

# %%
variants = {
    "control": Segmenter(copy.deepcopy(plain)),
    "converted": Segmenter(converted),
    "converted, and filter": Segmenter(segaware.convert(plain, embedding), embedding),
}
for name, model in variants.items():
    train(model, EXTRA_STEPS, 3e-3, seed=1)
    measure(name, model)

# %%
for name, parameter in variants["converted, and filter"].named_parameters():
    if name.endswith("hardness"):
        print(f"{name:34s} {parameter.item():.2f}")

# %%
rows = []
predictions = {name: predict(model) for name, model in variants.items()}
for i in range(2):
    picture = (held_out[0][i].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    maps = {
        "truth": held_out[1],
        "control": predictions["control"],
        "converted, filter": predictions["converted, and filter"],
    }
    panels = [(caption, colorize(labels[i].numpy(), voc_palette())) for caption, labels in maps.items()]
    rows.append(torch.from_numpy(side_by_side([("image", picture), *panels])))
write_png("convert.png", torch.cat(rows).numpy())

# %% [markdown]
# ![Two scenes, their labels, and what the control and the converted network with a filter predict](convert.png)
#
# Compare with the control, not with the network before: most of the gain is that of training on. What is left of it
# here is the filter's, near borders, and conversion alone changes next to nothing, as its small hardnesses say. That
# is one training of a small network for some hundred steps, whose noise is as large as such differences:
# [Results](../results.md) has tables with intervals and several seeds; on CamVid, too, the filter gains more than the
# convolutions.
