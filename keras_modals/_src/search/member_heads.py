import keras
import numpy as np
from keras import ops, tree

from keras_modals._src.layers.gradients import scale_gradient
from keras_modals._src.layers.step_scope import current_scope
from keras_modals._src.models.copying import copy_layer
from keras_modals._src.models.graph import Graph
from keras_modals._src.search.stacked_layers import call_stacked, is_stackable
from keras_modals._src.search.untracked import Untracked


@keras.saving.register_keras_serializable("keras_modals")
class MemberHeads(keras.layers.Layer):
    """Copies of a head, one per member of a population, as one layer.

    Each variable of the head is stored once, with a leading axis for members. In
    training, every member's copy is called on its own rows, in the order of
    `MemberAugmentation`, and gets the gradient of its own mean loss. Otherwise the
    layer returns the outputs of the first member; in a `StepScope`, it also stores the
    outputs of all members there.

    The activations of the outputs are applied last, to the rows of all members, since
    Keras's losses look for a softmax or sigmoid there and use the logits before it.

    Args:
        head: A Functional model. Every copy starts with its weights.
        population_size: Positive integer.
        activations: Optional list of the final activation of each of the head's
            outputs. Defaults to those of its layers, which are removed there.
        vectorized: Boolean, whether to compute all copies at once if the head allows
            it, instead of one after the other. Defaults to `True`.
    """

    def __init__(
        self, head, population_size, activations=None, vectorized=True, **kwargs
    ):
        # Each layer of the head casts for itself.
        super().__init__(autocast=False, **kwargs)
        if isinstance(head, dict):
            head = keras.saving.deserialize_keras_object(head)
        if activations is None:
            head, activations = _take_activations(head)
        self._head = Untracked(head)
        self.population_size = population_size
        self.activations = [
            each if isinstance(each, _Activation) else _Activation(**each)
            for each in activations
        ]
        self.vectorized = vectorized
        self.is_stacked = vectorized and is_stackable(head)

    @property
    def head(self):
        """The head without activations, with the weights that copies start with."""
        return self._head.value

    def build(self, *_):
        weights = {id(weight) for weight in self.head.weights}
        self._variables = [
            self.add_weight(
                # Optimizers name their slots after this name.
                name=f"{index}_{variable.path.replace('/', '_')}",
                shape=(self.population_size, *variable.shape),
                dtype=variable.dtype,
                initializer=_copies_of(variable, is_seed=id(variable) not in weights),
                trainable=variable.trainable,
                constraint=_of_each(getattr(variable, "constraint", None)),
                autocast=False,
            )
            for index, variable in enumerate(self.head.variables)
        ]
        places = enumerate(self.head.variables)
        self._places = {id(variable): place for place, variable in places}

    def call(self, inputs, training=None):
        scope = current_scope()
        if scope is None or (training and scope.rows is None):
            outputs, _, losses = self._call_one(0, inputs, bool(training))
            self._add_losses([losses])
            return self._activated(outputs, members=1)
        if training:
            outputs, losses = self._call_all(_member_rows(inputs, scope))
            self._add_losses(losses)
            # The loss is a mean over all members' rows.
            return self._activated(
                tree.map_structure(
                    lambda t: scale_gradient(_flat(t), self.population_size), outputs
                ),
                self.population_size,
            )
        outputs, losses = self._call_all(inputs, training=False)
        self._add_losses(losses[:1])
        scope.member_outputs = self._activated(tree.map_structure(_flat, outputs))
        first = tree.map_structure(lambda tensor: tensor[0], outputs)
        return self._activated(first, members=1)

    def _activated(self, outputs, members=0):
        """Applies the activations and adds activity regularization for `members`.

        As in Keras, regularization is per row."""
        flat = []
        for each, tensor in zip(self.activations, tree.flatten(outputs), strict=True):
            tensor = each.function(tensor)
            flat.append(tensor)
            if each.regularizer is not None and members:
                parts = ops.split(tensor, members) if members > 1 else [tensor]
                rows = ops.cast(ops.shape(parts[0])[0] * members, tensor.dtype)
                self.add_loss(sum(each.regularizer(part) for part in parts) / rows)
        return tree.pack_sequence_as(outputs, flat)

    def _add_losses(self, losses):
        """Adds the mean of members' regularization, each with its full gradient."""
        sums = [sum(member_losses) for member_losses in losses if member_losses]
        if sums:
            self.add_loss(scale_gradient(sum(sums) / len(losses), len(losses)))

    def _call_all(self, inputs, training=True):
        """All members' outputs, with a leading member axis, and lists of losses.

        In training, inputs have this axis too. Otherwise they are the same for all
        members.
        """
        if self.is_stacked:
            pairs = list(zip(self.head.variables, self._variables, strict=True))
            outputs, changed = call_stacked(self.head, pairs, inputs, training)
            for variable, value in changed:
                self.stack_of(variable).assign(value)
            return outputs, self._regularization(
                self.population_size if training else 1
            )
        results = [
            self._call_one(
                member,
                tree.map_structure(lambda tensor: tensor[member], inputs)  # noqa: B023
                if training
                else inputs,
                training,
            )
            for member in range(self.population_size)
        ]
        outputs, updates, losses = zip(*results, strict=True)
        if training:
            for variable, *values in zip(
                self.head.non_trainable_variables, *updates, strict=True
            ):
                self.stack_of(variable).assign(ops.stack(values))
        outputs = tree.map_structure(lambda *tensors: ops.stack(tensors), *outputs)
        return outputs, losses

    def _call_one(self, member, inputs, training):
        """One member's outputs, new non-trainable variables, and losses."""
        trainable, non_trainable = (
            [self.stack_of(variable)[member] for variable in variables]
            for variables in (
                self.head.trainable_variables,
                self.head.non_trainable_variables,
            )
        )
        variables = self.head.trainable_variables, self.head.non_trainable_variables
        mapping = [*zip(variables[0], trainable), *zip(variables[1], non_trainable)]
        # `stateless_call` finds losses by the ids of tensors, which eager steps reuse.
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            outputs = self.head(inputs, training=training)
        new = [scope.get_current_value(variable) for variable in variables[1]]
        return outputs, new, [*scope.losses, *self._regularization_of(member)]

    def _regularization_of(self, member):
        return [
            variable.regularizer(self.stack_of(variable)[member])
            for variable in self.head.trainable_variables
            if getattr(variable, "regularizer", None) is not None
        ]

    def _regularization(self, members):
        """The regularization losses of the first members' weights."""
        return [self._regularization_of(member) for member in range(members)]

    def stack_of(self, variable):
        """All members' values of a variable of the head."""
        return self._variables[self._places[id(variable)]]

    @property
    def member_variables(self):
        """Variables that are copied with a member. Seeds are not."""
        weights = {id(weight) for weight in self.head.weights}
        return [self.stack_of(v) for v in self.head.variables if id(v) in weights]

    def reseed(self, seed):
        """Resets every member's copy of each seed to a state derived from `seed`."""
        kept = {id(variable) for variable in self.member_variables}
        for index, stack in enumerate(self._variables):
            if id(stack) not in kept:
                entropy = np.random.SeedSequence((seed, index))
                states = entropy.generate_state(2 * self.population_size) >> 1
                stack.assign(ops.cast(states.reshape(stack.shape), stack.dtype))

    def member_weights(self, member, model):
        """Yields pairs of another model's weights and a member's values for them."""
        for layer in self.head.layers:
            if layer.weights:
                weights = model.get_layer(layer.name).weights
                for target, variable in zip(weights, layer.weights, strict=True):
                    yield target, self.stack_of(variable)[member]

    def compute_output_spec(self, inputs, training=None):
        return self.head.compute_output_spec(inputs)

    def get_config(self):
        config = super().get_config()
        config.update(
            head=keras.saving.serialize_keras_object(self.head),
            population_size=self.population_size,
            activations=[activation.get_config() for activation in self.activations],
            vectorized=self.vectorized,
        )
        return config


class _Activation:
    """The activation of an output, and the regularizer of its result."""

    def __init__(self, function, regularizer=None):
        self.function = keras.activations.get(function)
        self.regularizer = keras.regularizers.get(regularizer)

    def get_config(self):
        return {
            "function": keras.activations.serialize(self.function),
            "regularizer": keras.regularizers.serialize(self.regularizer),
        }


def _take_activations(head):
    """Splits a head into a head without output activations and the activations."""
    graph = Graph(head)
    replaced: dict = {}
    activations = []
    for output in graph.outputs:
        layer, activation = graph.producer(output), _Activation("linear")
        is_last = layer is not None and not graph.consumers(layer)
        regularizer = getattr(layer, "activity_regularizer", None)
        if is_last and type(layer) is keras.layers.Dense:
            activation = _Activation(layer.activation, regularizer)
            # The head's layers may be those of the user's model.
            replaced[id(layer)] = copy_layer(layer)
            replaced[id(layer)].activation = keras.activations.linear
            replaced[id(layer)].activity_regularizer = None
        elif is_last and type(layer) is keras.layers.Activation:
            activation = _Activation(layer.activation, regularizer)
            replaced[id(layer)] = _unchanged
        elif is_last and type(layer) is keras.layers.Softmax and layer.axis == -1:
            activation = _Activation("softmax", regularizer)
            replaced[id(layer)] = _unchanged
        activations.append(activation)
    if not replaced:
        return head, activations

    def call(operation, *args, **kwargs):
        return replaced.get(id(operation), operation)(*args, **kwargs)

    inputs = graph.new_inputs()
    value = graph.run(graph.inputs, tree.flatten(inputs), call)
    outputs = [value(tensor) for tensor in graph.outputs]
    head = keras.Model(inputs, tree.pack_sequence_as(head.output, outputs))
    return head, activations


def _member_rows(inputs, scope):
    """Every member's rows, and the inputs that bypass the augmentation, repeated."""
    if not isinstance(inputs, (list, tuple)):
        return scope.rows.by_member(inputs)
    others = (scope.layer.share(tensor[None]) for tensor in inputs[1:])
    return [scope.rows.by_member(inputs[0]), *others]


def _unchanged(tensor, **_):
    # Not the tensor: before Keras 3.14, a model's output could not be its input.
    return keras.layers.Identity()(tensor)


def _flat(tensor):
    return ops.reshape(tensor, (-1, *tensor.shape[2:]))


def _copies_of(variable, is_seed):
    def initializer(shape, dtype):
        values = np.repeat(ops.convert_to_numpy(variable)[None], shape[0], axis=0)
        if is_seed:
            for member in range(1, shape[0]):
                entropy = (*values[0].tolist(), member)
                state = np.random.SeedSequence(entropy).generate_state(2)
                values[member] = state >> 1
        return ops.convert_to_tensor(values, dtype)

    return initializer


def _of_each(constraint):
    """Applies the constraint of one member's variable to the stacked variable."""
    if constraint is None:
        return None
    return lambda stack: ops.stack([constraint(value) for value in ops.unstack(stack)])
