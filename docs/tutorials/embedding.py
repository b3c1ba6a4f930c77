# %% [markdown]
# # Train an embedding on your label maps
#
# Masks are as good as the embeddings that they compare. The embedding in the package is trained on photographs; if
# your images are of another kind, and you have label maps for some of them, train your own. The labels say which
# neighbouring pixels belong together, and need not be of the classes that you are going to predict.

# %%
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

import segaware
from segaware.data import (
    Compose,
    RandomCrop,
    RandomFlip,
    coarse_scores,
    find_pairs,
    generate_scene,
    read_image,
    read_label,
    to_sample,
    voc_palette,
    write_png,
)
from segaware.metrics import TrimapIoU
from segaware.nn import ColorEmbedding, upsample
from segaware.viz import colorize, embedding_colors, mark_points, mask_picture, side_by_side

IMAGES, HELD_OUT = 120, 20  # in all, and how many of these are only measured on
EPOCHS = 16

torch.manual_seed(0)

# %% [markdown]
# ## A folder of images and a folder of label maps
#
# Images are any files that Pillow reads; labels are PNGs of class indices with the same names, 255 where unknown.
# Here generated scenes stand in for yours: replace this cell by the two paths.

# %%
images, labels = Path("images"), Path("labels")
for folder in (images, labels):
    folder.mkdir()
for i in range(IMAGES):
    image, label = generate_scene(i, size=(96, 96))
    write_png(images / f"{i:04d}.png", image)
    write_png(labels / f"{i:04d}.png", label)


# %%
class Folder(Dataset):
    def __init__(self, pairs, transform=None):
        self.pairs, self.transform = pairs, transform

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        image, label = self.pairs[index]
        sample = to_sample(read_image(image), read_label(label, num_classes=6), image.stem)
        return self.transform(sample) if self.transform else sample


pairs = find_pairs(images, labels, ".png")
training = Folder(pairs[:-HELD_OUT], Compose([RandomCrop(64, 64), RandomFlip(0.5)]))
held_out = Folder(pairs[-HELD_OUT:])
print(len(training), "images to train on,", len(held_out), "held out")

# %% [markdown]
# ## How well does an embedding tell regions apart?
#
# Take two pixels that are five pixels apart and of one label, and two that are of different labels. How often is the
# distance of the second pair the larger one? An embedding that knows nothing reaches 50 %.


# %%
@torch.no_grad()
def separation(embed):
    same, different = [], []
    for image, label, _ in held_out:
        distance = segaware.embedding_distance(embed(image[None]), 3, padding="same", dilation=5)[0]
        label = label.float()[None, None]
        equal = segaware.embedding_distance(label, 3, padding="same", dilation=5)[0] == 0
        inside = torch.zeros_like(equal)
        inside[[0, 1, 2, 3, 5, 6, 7, 8], 5:-5, 5:-5] = True  # without the pixel itself, and what leaves the image
        same.append(distance[equal & inside])
        different.append(distance[~equal & inside])
    same, different = torch.cat(same).sort().values, torch.cat(different)
    return (torch.searchsorted(same, different).double().mean() / len(same)).item()


network = segaware.EmbeddingNet(width=0.25, dim=16)
network.calibrate(torch.stack([training[i].image for i in range(8)]))
shipped = segaware.EmbeddingNet.from_pretrained()
for name, embed in {
    "colours": ColorEmbedding(),
    "untrained network": network,
    "the package's network": shipped,
}.items():
    print(f"{name:22s} {100 * separation(embed):.1f} %")

# %% [markdown]
# `calibrate` measures the size of the network's features and divides by it from then on. Without it, distances may
# start far beyond the thresholds of the loss, where it has no gradient or far too much: call it once, before
# training, also after `load_vgg`.
#
# ## Training
#
# `PairLoss` pulls neighbouring pixels of one label nearer than `alpha` = 0.5 and pushes those of different labels
# further apart than `beta` = 2. There is nothing else to it: the loop is an ordinary one.

# %%
loss_of = segaware.PairLoss()
batches = DataLoader(training, batch_size=8, shuffle=True, drop_last=True)
optimizer = torch.optim.AdamW(network.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=EPOCHS * len(batches))
for epoch in range(EPOCHS):
    for image, label, _ in batches:
        loss = loss_of(network(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    if epoch % 4 == 3:
        print(f"epoch {epoch + 1:2d}  loss {loss.item():.2f}")

network.eval()
print(f"separation on held-out images: {100 * separation(network):.1f} %")

# %% [markdown]
# ## Look at it
#
# The principal components of an embedding as colours, and the mask of one pixel: white neighbours count fully, black
# ones not at all.

# %%
image, label, _ = held_out[0]
picture = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
row, column = 40, 40
panels = [
    ("image", mark_points(picture, [(row, column)])),
    ("labels", colorize(label.numpy(), voc_palette())),
]
for name, embed in {"learned": network, "the package's": shipped}.items():
    with torch.no_grad():
        embedded = embed(image[None])
    distance = segaware.embedding_distance(embedded, 17, padding="same")[0, :, row, column]
    mask = mask_picture(segaware.attention_mask(distance, hardness=1.0), 17, scale=6)[3:-3, 3:-3]
    panels += [(name, embedding_colors(embedded[0])), ("mask of 1", mask)]
write_png("embedding.png", side_by_side(panels))

# %% [markdown]
# ![A scene, its labels, the learned embedding and the package's, each with the mask of one pixel](embedding.png)

# %% [markdown]
# ## Use it
#
# Wherever an embedding is asked for: `segaware.refine(..., embedding=network)`, `segaware.convert(model, network)`,
# or the layers of `segaware.nn`. Here it sharpens scores at stride 8 of the held-out images.

# %%
network.save_pretrained("my-embedding")
network = segaware.EmbeddingNet.from_pretrained("my-embedding")

noise = torch.Generator().manual_seed(0)
given = [coarse_scores(label[None], 6, radius=8, generator=noise)[0] for _, label, _ in held_out]
methods = {
    "upsampled": lambda image, scores: upsample(scores[None], 8, image.shape[1:])[0],
    "colours": partial(segaware.refine, embedding="color"),
    "the package's network": segaware.refine,
    "learned": partial(segaware.refine, embedding=network),
    "learned, hardness 2": partial(segaware.refine, embedding=network, hardness=2.0),
}
for name, method in methods.items():
    border = TrimapIoU(num_classes=6, half_widths=(3,))
    for (image, label, _), scores in zip(held_out, given, strict=True):
        border.update(method(image, scores).argmax(0), label)
    print(f"{name:22s} mIoU within 3 px of borders {100 * border.compute().item():.1f}")

# %% [markdown]
# Hardness says how strictly masks keep to one region. What suits an embedding is to be chosen on images other than
# those that you report on, or learned: it is a parameter of every layer.
#
# A recipe does the same with more options, such as a loss on each scale of the network, and goes on where it was
# stopped: `segaware train camvid/embedding --data-root DATA`, and [Data sets](../data.md) has the layouts that it
# reads.
