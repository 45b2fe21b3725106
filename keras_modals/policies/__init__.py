from keras_modals.policies.policy import Policy

__all__ = ["Policy"]
