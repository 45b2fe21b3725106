"""The training step: one thin file per Keras backend over one shared objective."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_modals.training.tensorflow import train_step
else:

    def train_step(model, data):
        raise NotImplementedError(
            "`ModalsModel` trains on the TensorFlow backend. "
            f"Received: keras.backend.backend()={keras.backend.backend()!r}"
        )


__all__ = ["train_step"]
