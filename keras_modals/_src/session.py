"""Global state of Keras."""

import keras


def forget_models():
    """Clears Keras's record of created models, and nothing else.

    `clear_session` alone also resets the dtype policy and the distribution."""
    policy = keras.config.dtype_policy()
    distribution = keras.distribution.distribution()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    keras.distribution.set_distribution(distribution)
