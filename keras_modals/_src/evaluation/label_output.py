"""The output of a model that is compared, of one or of several."""

import dataclasses

import keras

from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.models.graph import plain
from keras_modals._src.training.outputs import Outputs, by_output, output_names


@dataclasses.dataclass(frozen=True)
class LabelOutput:
    """Picks what belongs to one of a model's outputs.

    Attributes:
        names: Those of all outputs.
        name: The output's own.
    """

    names: tuple = ("output",)
    name: str = "output"

    @classmethod
    def of_model(cls, model, name=None):
        """That of a Functional or Sequential model; its only one without a name."""
        names = output_names(plain(model))
        if len(names) > 1 and name is None:
            raise ValueError(
                "The model has several outputs: say whose labels are compared with "
                f"`label_output`. Expected one of {names}. Received: label_output=None"
            )
        if name is not None and name not in names:
            raise ValueError(
                "Invalid value received for argument `label_output`. Expected one of "
                f"{names}. Received: label_output={name!r}"
            )
        return cls(tuple(names), name or names[0])

    @property
    def is_only(self):
        """Whether there is no other."""
        return len(self.names) == 1

    def of(self, structure):
        """The entry of a structure of targets, or of outputs."""
        return (
            structure if self.is_only else by_output(structure, self.names)[self.name]
        )

    def losses(self, model):
        """The losses that a model is compiled with for this output."""
        if self.is_only:
            return keras.tree.flatten(model.loss)
        outputs = Outputs(list(self.names), self.name, [])
        outputs.compile(model.loss)
        return outputs.losses[self.name]

    def log(self, name):
        """The name in the logs of one of this output's metrics, or of its loss."""
        return name if self.is_only else f"{self.name}_{name}"

    def check_is_only(self):
        """Raises `NotApplicableError` where there are others."""
        if not self.is_only:
            raise NotApplicableError("needs a model with one output")
