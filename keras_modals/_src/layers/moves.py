"""The moves of a layer that keep labels, which the layer draws itself."""

from collections import namedtuple

from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels import IGNORED
from keras_modals._src.operations.operation import Draw

NO_OPERATION = -1

Step = namedtuple("Step", ["sub_policy", "magnitude", "uniform", "noise"])
Step.__doc__ = """The draws of one operation on each of `n` latents.

Attributes:
    sub_policy: int32 `(n,)`, the sub-policy to apply; `NO_OPERATION` for none.
    magnitude: float32 `(n,)`.
    uniform: Dict from an operation's name to its uniform numbers `(n, num_uniform)`.
    noise: Standard normal `(n, features)`; `None` if no operation uses it.
"""


class Moves:
    """The operations of a policy that keep labels: their random draws and application.

    Args:
        policy: The `Policy` that defines the operations and operation counts.
    """

    def __init__(self, policy):
        by_name = policy.by_name
        #: Dict from name to `Operation`.
        self.operations = {n: each for n, each in by_name.items() if each.keeps_labels}
        names = [name for name, _, _ in policy.sub_policies]
        #: Indices of their sub-policies in the policy. Those of an operation are
        #: consecutive.
        self._indices = [i for i, name in enumerate(names) if name in self.operations]
        self._names = [names[index] for index in self._indices]
        self._is_whole = len(self._indices) == len(names)
        self._counts = policy.operation_counts
        self._num_steps = len(self._counts) - 1
        operations = self.operations.values()
        self._needs_noise = any(each.needs_noise for each in operations)
        count = len(self._indices)
        self._widths = [count, count, 1]
        self._widths += [each.num_uniform for each in operations] * self._num_steps

    def __bool__(self):
        return bool(self.operations)

    def draw(self, probabilities, magnitudes, batch_size, views, features, seed):
        """Draws the random numbers for moving `views * batch_size` latents.

        Args:
            probabilities, magnitudes: Current values, one per sub-policy of the policy;
                or those of several policies, `(policies, sub_policies)`, each for an
                equal number of consecutive latents.
            batch_size, views: The draws are for `views * batch_size` latents.
            features: The width of latents.
            seed: A `keras.random.SeedGenerator`.

        Returns:
            List of `Step`, one for each operation that a latent may undergo.
        """
        if not self:
            return []
        probabilities, magnitudes = self._own(probabilities), self._own(magnitudes)
        shape = (views * batch_size, sum(self._widths))
        numbers = backend.uniform(shape, seed)
        keys, accept, number, *rest = _split(numbers, self._widths)
        keys = ops.where(accept < _by_row(probabilities, numbers), keys, _REJECTED)
        magnitudes = _by_row(magnitudes, numbers)
        walk = _walk(keys, number[:, 0], self._counts)
        noise = [None] * self._num_steps
        if self._needs_noise:
            noise = _shared_noise((batch_size, features), views, self._num_steps, seed)
        steps, count = [], len(self.operations)
        for index, sub_policy in enumerate(walk):
            of_step = rest[index * count : (index + 1) * count]
            steps.append(
                Step(
                    sub_policy=sub_policy,
                    magnitude=_at(magnitudes, ops.maximum(sub_policy, 0)),
                    uniform=dict(zip(self.operations, of_step, strict=True)),
                    noise=noise[index],
                )
            )
        return steps

    def _own(self, values):
        """Selects the values of these moves from those of the whole policy."""
        values = ops.convert_to_tensor(values)
        if self._is_whole:
            return values
        return ops.stack([values[..., index] for index in self._indices], axis=-1)

    def walk(self, moved, batch, steps):
        """Applies the drawn operations to rows.

        Args:
            moved: Float32 `(n, features)`.
            batch: The `Batch` that the rows come from.
            steps: As returned by `draw`.

        Returns:
            Pair of the moved rows and a mask of those that were moved, boolean `(n,)`.
        """
        has_label = batch.labels != IGNORED
        touched = ops.zeros_like(has_label)
        for step in steps:
            before = moved
            for name, operation in self.operations.items():
                numbers = Draw(step.uniform[name], step.noise)
                move = operation.move(before, step.magnitude[:, None], batch, numbers)
                chosen = self._is_chosen(name, step) & has_label
                if move.possible is not None:
                    chosen = chosen & move.possible
                moved = ops.where(chosen[:, None], move.latents, moved)
                touched = touched | chosen
        return moved, touched

    def _is_chosen(self, name, step):
        first = self._names.index(name)
        last = first + self._names.count(name) - 1
        if first == last:
            return step.sub_policy == first
        return (step.sub_policy >= first) & (step.sub_policy <= last)


_REJECTED = 2.0


def _by_row(values, rows):
    """Repeats the values of several policies for their rows.

    Values of a single policy are returned as they are."""
    values = ops.convert_to_tensor(values)
    if len(values.shape) == 1:
        return values
    return ops.repeat(values, ops.shape(rows)[0] // values.shape[0], axis=0)


def _at(values, index):
    """The value of each row's sub-policy, from the result of `_by_row`."""
    if len(values.shape) == 1:
        return backend.take_rows(values, index)
    return ops.take_along_axis(values, index[:, None], axis=1)[:, 0]


def _walk(keys, count, operation_counts):
    """The sub-policy that each step applies to each row.

    Accepted sub-policies have uniform keys. Sorted by key they are in random order, and
    the first few are applied.
    """
    walk = []
    not_more = 0.0
    columns = ops.arange(keys.shape[1], dtype="int32")
    for probability in operation_counts[:-1]:
        not_more += probability
        first = ops.cast(ops.argmin(keys, axis=-1), "int32")
        applied = (ops.min(keys, axis=-1) < _REJECTED) & (count >= not_more)
        walk.append(ops.where(applied, first, NO_OPERATION))
        keys = ops.where(columns == first[:, None], _REJECTED, keys)
    return walk


def _shared_noise(shape, views, num_steps, seed):
    """Standard normal noise for each step, drawn once per sample.

    Drawing normal numbers is expensive. Each view and step of a sample uses the numbers
    of another sample of the batch, so the noise of any one sample is independent.
    """
    batch_size, features = shape
    turns = views * num_steps
    # More rows than turns, so that no two turns are equal.
    noise = backend.normal((batch_size + turns, features), seed)
    rolled = [ops.roll(noise, turn, axis=0)[:batch_size] for turn in range(turns)]
    return [
        ops.concatenate(rolled[step * views : (step + 1) * views])
        for step in range(num_steps)
    ]


def _split(numbers, widths):
    parts = []
    start = 0
    for width in widths:
        parts.append(numbers[:, start : start + width])
        start += width
    return parts
