"""Learning rates of compiled models, times a factor."""

import keras

from keras_modals._src.models.compiling import compile_arguments, own_objects


def scale_learning_rate(model, factor):
    """Multiplies a compiled model's learning rate, or its schedule, by a factor."""
    if factor == 1.0:
        return
    settings = keras.optimizers.serialize(model.optimizer)
    config = settings["config"].get("inner_optimizer", settings)["config"]
    if not isinstance(config["learning_rate"], dict):
        model.optimizer.learning_rate = factor * float(model.optimizer.learning_rate)
        return
    with keras.saving.custom_object_scope(own_objects(model)):
        schedule = keras.saving.deserialize_keras_object(config["learning_rate"])
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError(
            "Only a number or a schedule can be multiplied: use a "
            "`keras.optimizers.schedules.LearningRateSchedule` in place of a function. "
            f"Received: learning_rate={schedule!r}"
        )
    scaled = ScaledSchedule(schedule, factor)
    config["learning_rate"] = keras.saving.serialize_keras_object(scaled)
    model.compile(**compile_arguments(model, model, optimizer=settings))
    model.optimizer.build(model.trainable_variables)


@keras.saving.register_keras_serializable("keras_modals")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate schedule, multiplied by a factor."""

    def __init__(self, schedule, factor):
        super().__init__()
        self.schedule, self.factor = schedule, factor

    def __call__(self, step):
        return self.factor * self.schedule(step)

    def get_config(self):
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor}

    @classmethod
    def from_config(cls, config):
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["factor"])
