from keras_modals.policies.policy import Policy
from keras_modals.policies.policy_schedule import PolicySchedule
from keras_modals.policies.policy_scheduler import PolicyScheduler

__all__ = ["Policy", "PolicySchedule", "PolicyScheduler"]
