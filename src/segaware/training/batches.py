"""Deterministic training batches: order and augmentation depend on seed and epoch alone, so a training can resume."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from segaware.constants import ENDING_SIGNALS


def derived_seed(*parts: int | str) -> int:
    """Return a seed of 64 bits that is a function of its parts, such as a seed, what it is for, and a step."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big")


class EpochSampler(Sampler[tuple[int, int]]):
    """Shuffled indices, each with the seed of its augmentation; both depend on seed and epoch alone.

    Several processes get a share of every batch each, and an incomplete last batch is left out.

    Args:
        length: Number of samples.
        seed: Seed of the training.
        batch_size: Samples of a batch, in all processes together.
        rank: Number of this process.
        world_size: Number of processes, which divides the batch size.
    """

    def __init__(self, length: int, seed: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.length = length - length % batch_size
        self.samples = length
        self.seed = seed
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self._epoch = 0
        self._begun = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls this."""
        self._epoch = epoch

    def skip(self, epoch: int, batches: int) -> None:
        """Leave out the first batches of an epoch, which were seen before the training was interrupted."""
        self._begun = (epoch, batches)

    def __len__(self) -> int:
        """Return the number of samples of a whole epoch in this process."""
        return self.length // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the indices of the epoch that was chosen."""
        epoch, (begun, seen) = self._epoch, self._begun
        generator = torch.Generator().manual_seed(derived_seed("order", self.seed, epoch))
        order = torch.randperm(self.samples, generator=generator).tolist()
        first = self.batch_size * seen if epoch == begun else 0
        for index in order[first : self.length][self.rank :: self.world_size]:
            yield index, derived_seed("sample", self.seed, epoch, index)


class _Seeded(Dataset[Any]):
    """Samples of another data set, each made with the random numbers of its own seed."""

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, seed = key
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.samples[index]


def _leave_signals_to_the_training(_: int) -> None:
    """Ignore Ctrl-C and the like, which reach whole process groups: a training ends its loaders when it has saved."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def shuffled_batches(
    samples: Dataset[Any], batch_size: int, seed: int, workers: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader[Any]:
    """Return shuffled training batches, the same for any number of workers; an incomplete last batch is dropped.

    Args:
        samples: A data set whose augmentation draws from PyTorch's random numbers.
        batch_size: Samples of a batch, in all training processes together.
        seed: Seed of the training.
        workers: Processes that load data, for each training process.
        rank: Number of this training process, which gets its share of every batch.
        world_size: Number of training processes.

    Raises:
        ValueError: If the batch size does not divide by the number of training processes.
    """
    if batch_size % world_size:
        raise ValueError(f"batch_size must be a multiple of the {world_size} processes, got {batch_size}")
    return DataLoader(
        _Seeded(samples),
        batch_size // world_size,
        sampler=EpochSampler(len(samples), seed, batch_size, rank, world_size),  # type: ignore[arg-type]
        num_workers=workers,
        worker_init_fn=_leave_signals_to_the_training,
        drop_last=True,
        persistent_workers=workers > 0,
    )
