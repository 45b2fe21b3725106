from keras_modals.policies.policy import Policy
from keras_modals.policies.policy_schedule import PolicySchedule

__all__ = ["Policy", "PolicySchedule"]
