"""The migration page runs as a user finds jax, and so does code of the peer's README with its import changed."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.compat.golden import FOLDER

PAGE = FOLDER.parents[1] / "docs" / "migration.md"


@pytest.mark.float32
def test_the_code_of_the_migration_page_runs(capsys):
    scope = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) >= 4
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), scope)
    assert capsys.readouterr().out == "(10, 6) (6, 1) (6, 6)\n"


WIDE_RESNET = """
import neural_tangents as nt
from neural_tangents import stax


def block(channels, strides=(1, 1), mismatch=False):
    main = stax.serial(
        stax.Relu(), stax.Conv(channels, (3, 3), strides, padding="SAME"),
        stax.Relu(), stax.Conv(channels, (3, 3), padding="SAME"))
    shortcut = stax.Conv(channels, (3, 3), strides, padding="SAME") if mismatch else stax.Identity()
    return stax.serial(stax.FanOut(2), stax.parallel(main, shortcut), stax.FanInSum())


def group(n, channels, strides=(1, 1)):
    return stax.serial(block(channels, strides, mismatch=True), *[block(channels)] * (n - 1))


init_fn, apply_fn, kernel_fn = stax.serial(
    stax.Conv(16, (3, 3), padding="SAME"), group(2, 16, (2, 2)),
    stax.AvgPool((4, 4)), stax.Flatten(), stax.Dense(10, 1.0, 0.0))
kernel_fn = nt.batch(kernel_fn, batch_size=2)
predict_fn = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, diag_reg=1e-4)
both = predict_fn(x_test=x_test, get=("nngp", "ntk"))
_, params = init_fn(key, x_test.shape)
y_test = apply_fn(params, x_test)
f_lin = nt.linearize(apply_fn, params)
"""


@pytest.mark.float32
def test_code_of_the_peers_readme_runs_with_its_import_changed():
    rng = np.random.default_rng(0)
    scope = {"key": jax.random.PRNGKey(0), "y_train": jnp.asarray(rng.normal(size=(4, 10)))}
    scope |= {
        "x_train": jnp.asarray(rng.normal(size=(4, 8, 8, 3))),
        "x_test": jnp.asarray(rng.normal(size=(2, 8, 8, 3))),
    }
    code = WIDE_RESNET.replace("import neural_tangents as", "import widenet.compat.neural_tangents as")
    exec(code.replace("from neural_tangents import", "from widenet.compat.neural_tangents import"), scope)
    assert scope["both"].ntk.shape == scope["both"].nngp.shape == scope["y_test"].shape == (2, 10)
    assert np.isfinite(scope["both"].ntk).all()
    np.testing.assert_allclose(scope["f_lin"](scope["params"], scope["x_test"]), scope["y_test"], rtol=1e-5)
