import keras
import numpy as np
from keras import ops

from keras_modals._src.layers.moves import Moves
from keras_modals._src.policies.policy import Policy

#: Mixes half of the rows, with a share of up to one half of their partner.
DEFAULT_POLICY = Policy({"class_mixing": (0.5, 0.5)}, operation_counts=(0.0, 1.0))


class PolicyLayer(keras.layers.Layer):
    """A layer with a policy whose probabilities and magnitudes are variables.

    Args:
        policy: A `Policy`, or its config. Defaults to `DEFAULT_POLICY`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        operations: Dict from name to `Operation`.
        probabilities, magnitudes: Float32, one for each sub-policy.
        operation_that_mixes: The first operation that mixes, which defines how partners
            are drawn; `None` without one.
    """

    def __init__(self, policy=None, **kwargs):
        super().__init__(**kwargs)
        if policy is None:
            policy = DEFAULT_POLICY
        elif isinstance(policy, dict):
            policy = keras.saving.deserialize_keras_object(policy)
        _check_policy(policy)
        self._policy = policy
        self.operations = policy.by_name
        self._sub_policies = tuple(name for name, _, _ in policy.sub_policies)
        self._moves = Moves(policy)
        names = enumerate(self._sub_policies)
        #: Indices of the sub-policies that mix.
        self._mixing = [i for i, name in names if name not in self._moves.operations]
        mixing = [self.operations[self._sub_policies[i]] for i in self._mixing]
        partners = sorted({(each.partners, each.bandwidth) for each in mixing})
        if len(partners) > 1:
            raise ValueError(
                "A sample has a single partner, so all operations must use the same "
                f"`partners` and `bandwidth`. Received: {partners}"
            )
        self.operation_that_mixes = mixing[0] if mixing else None

    def _build_policy(self):
        """Creates the variables."""
        _, probabilities, magnitudes = zip(*self._policy.sub_policies, strict=True)
        self.probabilities = self._variable("probabilities", probabilities)
        self.magnitudes = self._variable("magnitudes", magnitudes)

    def _variable(self, name, values):
        return self.add_weight(
            name=name,
            shape=np.shape(values),
            dtype="float32",
            initializer=lambda shape, dtype: ops.convert_to_tensor(values, dtype),
            trainable=False,
            autocast=False,
        )

    @property
    def mixes_classes(self):
        """Whether an operation moves labels."""
        return bool(self._mixing)

    @property
    def keeps_labels(self):
        """Whether an operation keeps labels."""
        return bool(self._moves)

    @property
    def num_mixing(self):
        """The number of sub-policies that mix."""
        return len(self._mixing)

    @property
    def partners(self):
        """How partners are drawn, as a pair of `partners` and `bandwidth`.

        See `keras_modals.operations.Mixing`. `None` if nothing mixes."""
        operation = self.operation_that_mixes
        return operation and (operation.partners, operation.bandwidth)

    def mixing_values(self):
        """List of `(operation, probability, magnitude)` for mixing operations.

        They are in the policy's order, with current values."""
        probabilities = ops.convert_to_tensor(self.probabilities)
        magnitudes = ops.convert_to_tensor(self.magnitudes)
        return [
            (
                self.operations[self._sub_policies[index]],
                probabilities[..., index],
                magnitudes[..., index],
            )
            for index in self._mixing
        ]

    @property
    def policy(self):
        """The current `Policy`, with the current probabilities and magnitudes.

        A policy with the same operations can be assigned; nothing is retraced.
        """
        if not self.built:
            return self._policy
        return self._policy_of(
            ops.convert_to_numpy(self.probabilities),
            ops.convert_to_numpy(self.magnitudes),
        )

    @policy.setter
    def policy(self, policy):
        _check_policy(policy)
        if not self.has_form_of(policy):
            raise ValueError(
                "A policy assigned to a layer must have the operations and operation "
                "counts that the layer was created with, and the same options: "
                f"{self._policy!r}. Received: {policy!r}"
            )
        if not self.built:
            self._policy = policy
            return
        _, probabilities, magnitudes = zip(*policy.sub_policies, strict=True)
        self.probabilities.assign(probabilities)
        self.magnitudes.assign(magnitudes)

    def has_form_of(self, policy):
        """Whether `policy` can be assigned to the layer."""
        return (
            policy is not None
            and self._sub_policies == tuple(name for name, _, _ in policy.sub_policies)
            and self._policy.operation_counts == policy.operation_counts
            and self.operations == policy.by_name
        )

    def _policy_of(self, probabilities, magnitudes):
        # Variables are float32, which cannot represent 0.1 exactly.
        values = np.round(np.array([probabilities, magnitudes], "float64"), 6)
        return self._policy.with_values(*values.tolist())


def _check_policy(policy):
    if not isinstance(policy, Policy):
        raise ValueError(
            "Invalid value received for argument `policy`. Expected a "
            f"`keras_modals.Policy`. Received: policy={policy!r}"
        )
