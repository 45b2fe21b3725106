from keras import ops


def scale_gradient(tensor, factor):
    """Returns the same values with the gradient multiplied by `factor`."""
    held = ops.stop_gradient(tensor)
    return held + factor * (tensor - held)
