"""The latent operations of MODALS: pure functions of (latents, statistics, draw).

Every operation moves a latent `z` along a direction, `z + magnitude * direction`,
and says in one line what that direction is. `magnitude` broadcasts against
`latents`, whose last axis holds the features. Nothing here draws a number, reads
a memory or knows a class.

Reference:

- [Cheung and Yeung, 2021](https://openreview.net/forum?id=XjYgR6gbCEc)
"""


def hard_interpolation(latents, magnitude, hard_example):
    """Moves towards a hard example of the latent's own class."""
    return latents + magnitude * (hard_example - latents)


def hard_extrapolation(latents, magnitude, class_mean):
    """Moves away from the centre of the latent's own class."""
    return latents + magnitude * (latents - class_mean)


def gaussian_noise(latents, magnitude, class_deviation, noise):
    """Adds standard normal `noise`, scaled by the class's spread per feature."""
    return latents + magnitude * noise * class_deviation


def difference_transform(latents, magnitude, first, second):
    """Moves by the difference between two latents of one class."""
    return latents + magnitude * (first - second)


def class_mixing(latents, ratio, partner):
    """Moves towards a latent of the same batch, whose label is mixed in as well.

    This is manifold mixup ([Verma et al., 2019](https://arxiv.org/abs/1806.05236)):
    the only operation here that does not preserve the label.
    """
    return latents + ratio * (partner - latents)


#: The four label-preserving operations of the paper, in its order.
PAPER_OPERATIONS = (
    "hard_interpolation",
    "hard_extrapolation",
    "gaussian_noise",
    "difference_transform",
)
OPERATIONS = (*PAPER_OPERATIONS, "class_mixing")
