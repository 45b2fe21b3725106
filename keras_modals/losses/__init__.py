from keras_modals.losses.triplet_selector import TripletSelector

__all__ = ["TripletSelector"]
