"""The moves of a layer that keep labels: drawn by the layer, where what mixes is drawn
by the step."""

from collections import namedtuple

from keras import ops

from keras_modals._src import backend
from keras_modals._src.labels import IGNORED
from keras_modals._src.operations.operation import Draw

NO_OPERATION = -1

Step = namedtuple("Step", ["sub_policy", "magnitude", "uniform", "noise"])
Step.__doc__ = """The draws of one operation on each of `n` latents.

Attributes:
    sub_policy: int32 `(n,)`, which sub-policy to apply, `NO_OPERATION` for none.
    magnitude: float32 `(n,)`.
    uniform: Dict from an operation's name to its uniform numbers `(n, num_uniform)`.
    noise: Standard normal `(n, features)`; `None` where no operation takes it.
"""


class Moves:
    """Those operations of a policy that keep labels: what they draw, and how they act.

    Args:
        policy: The `Policy` whose operations and operation counts hold.
    """

    def __init__(self, policy):
        by_name = policy.by_name
        #: Dict from name to `Operation`.
        self.operations = {n: each for n, each in by_name.items() if each.keeps_labels}
        names = [name for name, _, _ in policy.sub_policies]
        #: Which of the policy's sub-policies are theirs. Those of an operation are one
        #: after the other.
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
        """Draws all that a walk of as many rows depends on.

        Args:
            probabilities, magnitudes: Current values, one per sub-policy of the policy;
                or of several policies, `(policies, sub_policies)`, each of which holds
                for as many consecutive latents.
            batch_size, views: Draws are for `views` times `batch_size` latents.
            features: Their width.
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
        """Of values of the whole policy those of its moves."""
        values = ops.convert_to_tensor(values)
        if self._is_whole:
            return values
        return ops.stack([values[..., index] for index in self._indices], axis=-1)

    def walk(self, moved, batch, steps):
        """Takes rows through the operations that were drawn.

        Args:
            moved: Float32 `(n, features)`.
            batch: The `Batch` that they come from.
            steps: As returned by `draw`.

        Returns:
            Pair of the moved rows, and which of them were moved, boolean `(n,)`.
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
    """Values of one policy as they are, of several once for each row."""
    values = ops.convert_to_tensor(values)
    if len(values.shape) == 1:
        return values
    return ops.repeat(values, ops.shape(rows)[0] // values.shape[0], axis=0)


def _at(values, index):
    """The value of each row's sub-policy, as `_by_row` returns them."""
    if len(values.shape) == 1:
        return backend.take_rows(values, index)
    return ops.take_along_axis(values, index[:, None], axis=1)[:, 0]


def _walk(keys, count, operation_counts):
    """Which sub-policy each step applies to each row.

    Accepted sub-policies carry uniform keys: in the order of their keys they are a
    random order of the accepted ones, of which the first few are applied.
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

    Normal numbers are what is expensive. Each view and step of a sample takes those of
    another sample of the batch, so that what one sample meets is independent.
    """
    batch_size, features = shape
    turns = views * num_steps
    # More rows than turns, so that no two turns are alike.
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
