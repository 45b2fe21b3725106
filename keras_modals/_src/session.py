"""What Keras keeps for the whole process."""

import keras


def forget_models():
    """Has Keras forget the models it made, and nothing else: `clear_session` alone
    also forgets the dtype policy and the distribution."""
    policy = keras.config.dtype_policy()
    distribution = keras.distribution.distribution()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)
    keras.distribution.set_distribution(distribution)
