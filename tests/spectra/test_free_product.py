"""Products of free factors where they are known in closed form, and against their own moments."""

import numpy as np
import pytest

import widenet as wn
from widenet.spectra.free_product import FreeProduct
from widenet.spectra.slopes import SlopeLaw, slope_law

HALF = SlopeLaw(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
TANH = slope_law(wn.tanh, 1.4)


def integrals(product, powers, points=200):
    """Integrals of the density times powers of lambda, by points that crowd where it has a root at its edges."""
    angle = (np.arange(points) + 0.5) * np.pi / points
    grid = 1.0001 * product.upper_edge() * np.sin(angle / 2) ** 2
    density = product.density(grid, 1e-5) * np.sqrt(grid * (grid.max() - grid).clip(0)) * np.pi / points
    return [density @ grid**k for k in powers]


def test_one_gaussian_matrix_is_marchenko_pastur():
    x = np.linspace(0.1, 3.9, 50)
    found = FreeProduct((), 1).density(x, 1e-7)
    np.testing.assert_allclose(found, np.sqrt((4 - x) / x) / (2 * np.pi), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_gaussian_matrices_have_fuss_catalan_moments(count):
    product = FreeProduct((), count)
    np.testing.assert_allclose(product.upper_edge(), (count + 1) ** (count + 1) / count**count, rtol=1e-4)
    np.testing.assert_allclose(product.moments(3), [1, count + 1, (count + 1) * (3 * count + 2) / 2])


def test_two_projections():
    """Free projections of rank 1/2: lambda/4 has the arcsine law, with half of the mass at zero."""
    product = FreeProduct(((HALF, 2),), 0)
    x = np.linspace(0.2, 3.8, 50)  # in units of the mean 1/4
    np.testing.assert_allclose(product.density(x, 1e-7), 1 / (2 * np.pi * np.sqrt(x * (4 - x))), rtol=1e-5)
    assert product.atoms == {0.0: 0.5}


@pytest.mark.parametrize(
    "product",
    [
        FreeProduct(((HALF, 3),), 0),
        FreeProduct(((TANH, 2),), 0),
        FreeProduct(((TANH, 4),), 5),
        FreeProduct(((TANH, 1), (HALF, 2)), 0),
        FreeProduct(((TANH, 3), (slope_law(wn.gelu, 2.0), 2)), 0),
    ],
)
def test_the_density_has_the_moments(product):
    np.testing.assert_allclose(integrals(product, (1, 2, 3)), product.moments(3), rtol=3e-4)
    np.testing.assert_allclose(product.moments(2)[1] - 1, product.relative_variance, rtol=1e-10)


def test_the_mass_is_one_with_the_atoms():
    mostly = SlopeLaw(np.array([0.0, 0.5, 1.0]), np.array([0.05, 0.05, 0.9]))
    product = FreeProduct(((mostly, 4),), 0)
    top = (1 / mostly.mean) ** 4
    np.testing.assert_allclose([product.atoms[0.0], product.atoms[top]], [0.05, 0.6])
    np.testing.assert_allclose(integrals(product, (0,), 1500)[0], 0.35, rtol=0.02)


def test_orthogonal_matrices_alone_are_one_atom():
    assert FreeProduct(((SlopeLaw(np.ones(3), np.full(3, 1 / 3)), 4),), 0).atoms == {1.0: 1.0}


def test_equal_values_are_one_atom_and_different_ones_are_not():
    law = SlopeLaw(np.array([1.0, 1e-20, 1.0 + 1e-15, 0.0]), np.full(4, 0.25))
    np.testing.assert_allclose(law.weights, [0.25, 0.25, 0.5])
    assert (law.mass(0.0), law.mode) == (0.25, 1.0)


def test_a_single_layer_is_refused():
    with pytest.raises(ValueError, match="draw these"):
        FreeProduct(((TANH, 1),), 0).density(np.ones(1), 1e-4)
