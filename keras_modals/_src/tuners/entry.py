"""A trial of Keras Tuner as a member of a population."""

import numpy as np
from keras_tuner.engine.trial import TrialStatus

from keras_modals._src.arguments import BOUNDS
from keras_modals._src.tuners.policy_space import policy_from_values

#: Values of a trial that tell a worker its role.
MEMBER, GENERATION, PARENT = "tuner/member", "tuner/generation", "tuner/parent"
SEED = "tuner/seed"
BOOKKEEPING = (MEMBER, GENERATION, PARENT, SEED)

#: The number of epochs that a trial reports if it is not that of a full generation.
EPOCHS = "tuner/epochs"

#: The file with the error of a trial, in the trial's folder.
ERROR = "error.txt"


class Entry:
    """A trial as one member in one generation of a population."""

    def __init__(self, trial):
        self.trial = trial
        self.trial_id = trial.trial_id
        self.values = trial.hyperparameters.values
        self.member = self.values[MEMBER]
        self.generation = self.values[GENERATION]
        self.parent = self.values.get(PARENT)
        self.completed = trial.status == TrialStatus.COMPLETED
        self.ended = self.completed or trial.status == TrialStatus.FAILED

    def __eq__(self, other):
        return self.trial_id == other.trial_id

    __hash__ = None  # type: ignore[assignment]

    @property
    def seed(self):
        """The seed of its initial weights and of the random draws of its layers."""
        numbers = (self.values[SEED], self.generation, self.member)
        return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)

    @property
    def policy(self):
        """The policy that it is trained with, or `None`."""
        return policy_from_values(self.values)

    @property
    def others(self):
        """Dict of the other values that it is trained with."""
        return {n: float(v) for n, v in self.values.items() if n in BOUNDS}

    def score(self, objective):
        """Returns a score for which larger is better; `-inf` for a failed trial."""
        if not self.completed:
            return -np.inf
        return self.trial.score if objective.direction == "max" else -self.trial.score

    def epochs(self, default):
        """Returns the number of epochs that the member trained in this generation."""
        metrics = self.trial.metrics
        return (
            int(metrics.get_last_value(EPOCHS)) if metrics.exists(EPOCHS) else default
        )
