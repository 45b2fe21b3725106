import numpy as np
import pytest

from keras_modals import operations


def loops(rows):
    """Applies a formula of scalars element by element."""

    def apply(formula, *arguments):
        result = np.empty_like(arguments[0])
        for i in range(result.shape[0]):
            for j in range(result.shape[1]):
                result[i, j] = formula(
                    *(a[i, 0] if a.shape[1] == 1 else a[i, j] for a in arguments)
                )
        return result

    return apply(*rows)


FORMULAS = {
    "hard_interpolation": (lambda z, m, h: z + m * (h - z), 1),
    "hard_extrapolation": (lambda z, m, mean: z + m * (z - mean), 1),
    "gaussian_noise": (lambda z, m, deviation, noise: z + m * noise * deviation, 2),
    "difference_transform": (lambda z, m, a, b: z + m * (a - b), 2),
    "class_mixing": (lambda z, ratio, partner: (1 - ratio) * z + ratio * partner, 1),
}


@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_formula_matches_loops(name, rng):
    formula, num_arguments = FORMULAS[name]
    latents = rng.normal(size=(5, 3))
    magnitude = rng.uniform(size=(5, 1))
    arguments = [rng.normal(size=(5, 3)) for _ in range(num_arguments)]
    result = getattr(operations, name)(latents, magnitude, *arguments)
    expected = loops((formula, latents, magnitude, *arguments))
    np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_magnitude_zero_is_the_identity(name, rng):
    latents = rng.normal(size=(5, 3))
    arguments = [rng.normal(size=(5, 3)) for _ in range(FORMULAS[name][1])]
    result = getattr(operations, name)(latents, np.zeros((5, 1)), *arguments)
    np.testing.assert_array_equal(result, latents)
