from keras import ops


def scale_gradient(tensor, factor):
    """The same values, with `factor` times the gradient."""
    held = ops.stop_gradient(tensor)
    return held + factor * (tensor - held)
