from keras_modals.callbacks.policy_scheduler import PolicyScheduler

__all__ = ["PolicyScheduler"]
