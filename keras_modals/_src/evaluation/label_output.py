"""The output of a model that is compared."""

import dataclasses

import keras

from keras_modals._src.evaluation.errors import NotApplicableError
from keras_modals._src.models.graph import plain
from keras_modals._src.training.outputs import Outputs, by_output, output_names


@dataclasses.dataclass(frozen=True)
class LabelOutput:
    """Selects one of a model's outputs, and what belongs to it.

    Attributes:
        names: The names of all outputs.
        name: The name of the selected output.
    """

    names: tuple = ("output",)
    name: str = "output"

    @classmethod
    def of_model(cls, model, name=None):
        """Creates it for a Functional or Sequential model.

        `name` is optional if the model has only one output.
        """
        names = output_names(plain(model))
        if len(names) > 1 and name is None:
            raise ValueError(
                "The model has several outputs. Select the one to compare with "
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
        """Whether it is the only output."""
        return len(self.names) == 1

    def of(self, structure):
        """Returns the entry for this output in a structure of targets or outputs."""
        return (
            structure if self.is_only else by_output(structure, self.names)[self.name]
        )

    def losses(self, model):
        """Returns the losses that a model is compiled with for this output."""
        if self.is_only:
            return keras.tree.flatten(model.loss)
        outputs = Outputs(list(self.names), self.name, [])
        outputs.compile(model.loss)
        return outputs.losses[self.name]

    def log(self, name):
        """Returns the name in the logs of this output's metric or loss."""
        return name if self.is_only else f"{self.name}_{name}"

    def check_is_only(self):
        """Raises `NotApplicableError` if there are other outputs."""
        if not self.is_only:
            raise NotApplicableError("needs a model with one output")
