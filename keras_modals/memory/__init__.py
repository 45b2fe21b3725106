from keras_modals.memory.class_memory import ClassMemory

__all__ = ["ClassMemory"]
