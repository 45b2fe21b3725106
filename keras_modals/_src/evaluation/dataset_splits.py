"""Splits datasets by index."""

import functools

import keras
import numpy as np

from keras_modals._src.evaluation.samples import is_loader, targets_of


def dataset_splitter(dataset, kind, shares):
    """Returns `fn(seed)` that returns three disjoint datasets, without loading them.

    Args:
        dataset: A `PyDataset`, which is split by batches, or a `DataLoader` of a
            map-style dataset, which is split by samples, stratified by label.
        kind, shares: As in `Kind.split`.
    """
    if isinstance(dataset, keras.utils.PyDataset):
        return functools.partial(_split_batches, dataset, shares)
    order = _part(dataset, range(len(dataset.dataset)), 0)
    targets = targets_of(order, kind.output)
    kind.check(targets)
    return functools.partial(_split_loader, dataset, kind, targets, shares)


def can_be_split(dataset):
    """Whether a dataset can be split by index, with all else unchanged."""
    if isinstance(dataset, keras.utils.PyDataset):
        return (dataset.num_batches or 0) >= 3
    return is_loader(dataset) and _is_simple(dataset)


def _is_simple(loader):
    """Whether a `DataLoader` yields each sample once, in order or shuffled."""
    from torch.utils.data import IterableDataset, RandomSampler, SequentialSampler

    is_shuffled = type(loader.sampler) is RandomSampler
    return (
        not isinstance(loader.dataset, IterableDataset)
        and loader.batch_size is not None
        and (is_shuffled or type(loader.sampler) is SequentialSampler)
        and len(loader.sampler) == len(loader.dataset)
        and not (is_shuffled and loader.sampler.replacement)
    )


def _split_batches(dataset, shares, seed):
    count = dataset.num_batches
    order = np.random.default_rng(seed).permutation(count)
    sizes = [max(1, round(share * count)) for share in shares]
    if sum(sizes) >= count:
        raise ValueError(
            f"None of {count} batches would be left for training. "
            f"Received: splits={tuple(shares)}"
        )
    test, validation, train = np.split(order, np.cumsum([sizes[1], sizes[0]]))
    return [SomeBatches(dataset, chosen) for chosen in (train, validation, test)]


class SomeBatches(keras.utils.PyDataset):
    """A subset of the batches of a dataset.

    It does not call `on_epoch_end` of the dataset: samples that move to another batch
    would move to another part.
    """

    def __init__(self, dataset, indices):
        super().__init__()
        self._dataset, self._indices = dataset, indices

    def __len__(self):
        return len(self._indices)

    def __getitem__(self, index):
        return self._dataset[int(self._indices[index])]


def _split_loader(loader, kind, targets, shares, seed):
    from torch.utils.data import RandomSampler

    train, *others = kind.split(targets, shares, seed)
    options = {
        "shuffle": isinstance(loader.sampler, RandomSampler),
        "drop_last": loader.drop_last,
    }
    return [
        _part(loader, train, seed, **options),
        *(_part(loader, chosen, seed) for chosen in others),
    ]


def _part(loader, indices, seed, **options):
    import torch

    generator = torch.Generator()
    generator.manual_seed(seed)
    return torch.utils.data.DataLoader(
        torch.utils.data.Subset(loader.dataset, [int(i) for i in indices]),
        batch_size=loader.batch_size,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        worker_init_fn=loader.worker_init_fn,
        generator=generator,
        **options,
    )
