import keras
import numpy as np
import pandas as pd

from keras_modals._src.evaluation.latents import CLEAN, LatentProbe


class LatentMonitor(keras.callbacks.Callback):
    """Monitors the classes in the latent space while a `ModalsModel` trains.

    After each epoch, it measures for some labeled samples:

    - the *spread* of each class: the root mean squared distance of its latents from
      their mean;
    - the *drift* of each class: the distance that this mean moved since the previous
      epoch, in units of the spread;
    - the share of its latents that are *relabeled*: those for which the head predicts
      another class after an operation has moved them. The share is near zero for moves
      that preserve labels, and for moves without effect. `class_mixing` mixes the
      label, too, and has its own share.

    The means over classes are added to the logs, for the history and for all callbacks
    that come later in `callbacks`, such as `keras.callbacks.TensorBoard` and
    `CSVLogger`. Their names are `val_spread`, `val_drift` (from the second epoch on)
    and, for each operation, `val_relabeled_<operation>`.

    Args:
        x, y: Samples to monitor, usually the validation data. A few hundred are enough.
        operations: Dict from names of operations to magnitudes. Defaults to those of
            the model's policy, each with its largest magnitude.
        batch_size: Integer, of the forward pass. Defaults to `500`.

    Attributes:
        frame: A pandas DataFrame with a row for each epoch and class: `epoch`, from 1,
            `label`, `samples`, `spread`, `drift` and a column `relabeled_<operation>`
            for each operation.

    Example:

    >>> model = keras_modals.augment(keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(4),
    ...     keras.layers.Dense(3, "softmax"),
    ... ]))
    >>> model.compile("adam", "sparse_categorical_crossentropy")
    >>> x, y = np.random.normal(size=(30, 8)), np.arange(30) % 3
    >>> monitor = keras_modals.evaluation.LatentMonitor(x, y)
    >>> history = model.fit(x, y, epochs=2, callbacks=[monitor], verbose=0)
    >>> sorted(set(history.history) - {"loss"})
    ['val_drift', 'val_relabeled_class_mixing', 'val_spread']
    """

    def __init__(self, x, y, operations=None, batch_size=500):
        super().__init__()
        self.x, self.y = x, y
        self.operations = operations
        self.batch_size = batch_size
        self.frame = pd.DataFrame()
        self._centers = None

    def __getstate__(self):
        # Plain data, so that a member of a population can resume with it.
        state = {n: value for n, value in vars(self).items() if n != "_probe"}
        state["frame"] = self.frame.to_dict("list")
        if self._centers is not None:
            state["_centers"] = self._centers.reset_index().to_dict("list")
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        if "frame" in state:
            self.frame = pd.DataFrame(state["frame"])
        if state.get("_centers") is not None:
            self._centers = pd.DataFrame(state["_centers"]).set_index("label")

    def set_model(self, model):
        if not hasattr(model, "latent_augmentation"):
            raise ValueError(
                "`LatentMonitor` needs a `keras_modals.ModalsModel`. "
                f"Received: {model!r}"
            )
        super().set_model(model)
        self._probe = LatentProbe(model, self.batch_size)

    def on_epoch_end(self, epoch, logs=None):
        latents = self._probe.frame(self.x, self.y, self.operations)
        features = [name for name in latents if name.startswith("z")]
        clean = latents[latents["operation"] == CLEAN]
        by_class = clean.groupby("label")[features]
        centers = by_class.mean()
        spread = np.sqrt(by_class.var(ddof=0).sum(axis=1))
        table = pd.DataFrame({"samples": by_class.size(), "spread": spread})
        table.insert(0, "epoch", epoch + 1)
        moved = centers - (np.nan if self._centers is None else self._centers)
        table["drift"] = np.sqrt((moved**2).sum(axis=1, min_count=1)) / spread
        self._centers = centers
        for name, group in latents.groupby("operation", sort=False):
            if name == CLEAN:
                continue
            flipped = group["predicted"].to_numpy() != clean["predicted"].to_numpy()
            shares = pd.Series(flipped).groupby(group["label"].to_numpy()).mean()
            table[f"relabeled_{name}"] = shares
        self.frame = pd.concat([self.frame, table.reset_index()], ignore_index=True)
        if logs is not None:
            means = table.drop(columns=["epoch", "samples"]).mean().dropna()
            logs.update({f"val_{name}": float(value) for name, value in means.items()})
