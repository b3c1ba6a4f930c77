# %% [markdown]
# # Sharpen the output of your network
#
# Most networks compute their scores at every eighth pixel or so, and what is upsampled from there is blurred across
# the borders of objects. `segaware.refine` makes scores follow the borders in the image, without training and without
# the network. This page measures on one photograph what that gains and costs, and shows where it gains nothing.

# %%
import time
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageDraw

import segaware
from segaware.data import Scenes, coarse_scores, photograph, read_image, write_png
from segaware.metrics import MeanIoU, TrimapIoU
from segaware.nn import upsample
from segaware.viz import side_by_side

SCENES = 20  # generated images that the last part is measured on

# %% [markdown]
# ## The image and its scores
#
# The photograph comes with the package. Where its cat is has been drawn by hand, exact to a pixel or two. In place of
# a network's scores we take this truth as a network of stride 8 would see it: averaged over 49x49 pixels, at every
# eighth pixel, with noise. Put your own image and logits `(classes, h, w)` here.

# %%
OUTLINE = (
    *((41, 0), (40, 20), (36, 40), (34, 60), (32, 80), (33, 100), (25, 112), (10, 119), (0, 124), (0, 299)),
    *((310, 299), (306, 285), (303, 273), (310, 265), (316, 255), (320, 240), (318, 230), (318, 218), (328, 210)),
    *((338, 200), (343, 190), (352, 180), (358, 168), (361, 158), (363, 148), (365, 134), (362, 126), (366, 120)),
    *((363, 112), (357, 98), (356, 85), (358, 70), (367, 55), (373, 42), (378, 27), (388, 15), (398, 0)),
)

pixels = read_image(photograph())
image = torch.from_numpy(pixels).permute(2, 0, 1) / 255
drawing = Image.new("L", (image.shape[2], image.shape[1]))
ImageDraw.Draw(drawing).polygon(OUTLINE, fill=1)
truth = torch.from_numpy(np.array(drawing)).long()
scores = coarse_scores(truth[None], num_classes=2, generator=torch.Generator().manual_seed(0))[0]
print("image", tuple(image.shape), "scores", tuple(scores.shape))

# %% [markdown]
# ## Before and after
#
# Mean IoU counts all pixels, so near borders it hardly moves; the second number counts those within 3 pixels of a
# border of the truth alone. The first call of a method compiles or loads its kernels, so each is called once before
# it is timed.


# %%
def upsampled(image, scores):
    return upsample(scores[None], 8, image.shape[1:])[0]


def compare(methods, image, scores, truth):
    print(f"{'':24s}  mIoU  within 3 px  seconds")
    results = {}
    for name, method in methods.items():
        method(image, scores)
        start = time.perf_counter()
        results[name] = method(image, scores)
        seconds = time.perf_counter() - start
        everywhere, border = MeanIoU(num_classes=2), TrimapIoU(num_classes=2, half_widths=(3,))
        for metric in (everywhere, border):
            metric.update(results[name].argmax(0), truth)
        ious = 100 * everywhere.compute().item(), 100 * border.compute().item()
        print(f"{name:24s}  {ious[0]:4.1f}  {ious[1]:11.1f}  {seconds:7.2f}")
    return results


methods = {
    "upsampled": upsampled,
    "filter": segaware.refine,
    "filter on colours": partial(segaware.refine, embedding="color"),
    "segmentation-aware CRF": partial(segaware.refine, method="segaware_crf"),
    "dense CRF": partial(segaware.refine, method="dense_crf"),
}
results = compare(methods, image, scores, truth)

# %%
panels = [("truth", truth), *((name, result.argmax(0)) for name, result in results.items())]
cut_out = [(name, np.where(label.numpy()[..., None] > 0, pixels, pixels // 4)) for name, label in panels]
write_png("sharpen.png", np.concatenate([side_by_side(cut_out[:3]), side_by_side(cut_out[3:])]))

# %% [markdown]
# ![The cat cut out by hand, by the scores, and by what each method makes of them](sharpen.png)
#
# One photograph proves little: [Photographs of many kinds](../everyday.md) compares the methods on the predictions of
# real networks and on hundreds of photographs, with intervals.
#
# The time is that of this page's machine. Memory grows with the image, and `max_memory="2GB"` refines large ones in
# tiles, with the same result; the dense CRF alone cannot be split. The embedding network takes a good part of the
# filter's time: give `embedding=` the embeddings themselves if you refine several maps of one image.
#
# ## When it does not help
#
# **Where the scores are sharp already.** Without noise, the same scores are a smooth and nearly correct outline, and
# there is little left to mend.

# %%
smooth = coarse_scores(truth[None], num_classes=2, noise=0.0)[0]
_ = compare({name: methods[name] for name in ("upsampled", "filter")}, image, smooth, truth)

# %% [markdown]
# **Where the embedding does not know the images.** The embedding in the package has learned from photographs. In
# these generated scenes an object is told by its texture, not by its colour, and filtering by that embedding, or by
# colours, makes the scores worse.

# %%
noise = torch.Generator().manual_seed(0)
scenes = list(Scenes(SCENES, seed=1))
given = [coarse_scores(scene.label[None], 6, radius=8, generator=noise)[0] for scene in scenes]
for name in ("upsampled", "filter", "filter on colours"):
    border = TrimapIoU(num_classes=6, half_widths=(3,))
    for scene, coarse in zip(scenes, given, strict=True):
        border.update(methods[name](scene.image, coarse).argmax(0), scene.label)
    print(f"{name:24s}  within 3 px {100 * border.compute().item():.1f}")

# %% [markdown]
# The remedy is an embedding of your own: [Train an embedding on your label maps](embedding.md) trains one on such
# scenes.
#
# **Where an object is missing.** Filter and CRF move scores to better places. An object that no score near it speaks
# of stays missing.
#
# ## From the command line
#
# The same from files; a folder of images and a folder of scores work alike, see [Refining predictions](../refine.md).

# %%
write_png("photo.png", pixels)
np.save("scores.npy", scores.numpy())

# %% [markdown]
# ```
# segaware refine photo.png scores.npy --out refined.npy
# ```
