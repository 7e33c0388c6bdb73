"""The command line, as a user meets it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import widenet as wn
from widenet.cli import main
from widenet.io import save


@pytest.fixture
def data(tmp_path):
    """A file of labelled samples."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=30) * 4 + 1
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(30, 5)) + y[:, None], y=y)
    return tmp_path / "data.npz"


def test_help_loads_nothing_heavy():
    code = "import sys, widenet.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'jax', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_kernels_of_a_file_are_written(data, tmp_path, capsys):
    out = tmp_path / "K.npz"
    assert main(["kernel", str(data), "--net", "mlp:relu:2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for part in ("shape (30, 30)", "float64", "condition number", "smallest eigenvalue", "wrote"):
        assert part in printed
    with np.load(out) as k, np.load(data) as arrays:
        np.testing.assert_allclose(k["ntk"], wn.kernel(wn.zoo.mlp(wn.relu, 2))(arrays["x"]).ntk)


def test_an_existing_file_is_kept_unless_forced(data, tmp_path, capsys):
    out = tmp_path / "K.npz"
    out.write_text("precious")
    arguments = ["kernel", str(data), "--net", "mlp", "--get", "nngp", "--out", str(out)]
    assert main(arguments) == 2
    assert "exists and is kept" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert main([*arguments, "--force"]) == 0
    assert np.load(out)["nngp"].shape == (30, 30)


def test_an_interrupted_write_leaves_no_half_file(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "K.npz", nngp=np.ones(3))
    assert not list(tmp_path.iterdir())


def test_classes_are_predicted(data, capsys):
    assert main(["predict", str(data), str(data), "--net", "mlp:erf:1"]) == 0
    assert "accuracy 100.00% on 30 samples" in capsys.readouterr().out


def test_numbers_are_predicted_from_csv(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(40, 2))
    table = np.column_stack([x, x @ [1.0, -2.0]])
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="a,b,target", comments="")
    assert main(["predict", *[str(tmp_path / "t.csv")] * 2, "--label", "target", "--net", "mlp:relu:1"]) == 0
    assert "root mean square error" in capsys.readouterr().out


def test_an_architecture_is_shown(capsys):
    assert main(["show", "rnn:erf", "--shape", "3,4"]) == 0
    assert "step[2](x)" in capsys.readouterr().out


def test_papers_are_listed_and_unknown_ones_refused(capsys):
    assert main(["repro", "--list"]) == 0
    assert "ntk" in capsys.readouterr().out
    assert main(["repro", "ntkk"]) == 2
    assert "did you mean 'ntk'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, [], "no such file"),
        ("a,b\n1,x\n", [], "data row 0 is not 2 numbers"),
        ("", [], "no rows"),
        ("1,2\n3\n", [], "is not 2 numbers"),
        ("1,nan\n3,4\n", [], "NaN or infinite values in 1 of 2 rows"),
        ("1,2\n3,4\n", ["--net", "mpl:relu"], "did you mean 'mlp'"),
        ("1,2\n3,4\n", ["--out", "K.txt"], "results are written as .npz"),
        ("1,2\n3,4\n", ["--out", "nowhere/K.npz"], "is not a folder"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(content, arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "d.csv").write_text(content)
    assert main(["kernel", "d.csv", "--net", "mlp", "--out", "K.npz", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kernel", "d.npz", "--net", "mlp", "--out", "K.npz", "--rows", "-3"], "1 or more; got '-3'"),
        (["kernel", "d.npz", "--net", "mlp", "--out", "K.npz", "--shuffle", "x"], "0 or more; got 'x'"),
        (["show", "mlp", "--shape", "8,0"], "sizes with commas, such as 8,8,3; got '8,0'"),
        (["kernle"], "invalid choice: 'kernle'"),
        ([], "required: TASK"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_kernels_are_written_before_their_eigenvalues_are_found(data, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(np.linalg, "eigvalsh", interrupted)
    assert main(["kernel", str(data), "--net", "mlp:relu:1", "--out", str(tmp_path / "K.npz")]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert np.load(tmp_path / "K.npz")["ntk"].shape == (30, 30)


@pytest.mark.float32
def test_rows_columns_and_precision_are_as_asked(data, tmp_path):
    out, part = str(tmp_path / "K.npz"), ["--rows", "4", "--get", "ntk", "--against", str(data)]
    for options, dtype in (([], np.float64), (["--float32", "--force"], np.float32)):
        assert main(["kernel", str(data), "--net", "mlp:relu:1", "--out", out, *part, *options]) == 0
        with np.load(out) as k:
            assert k.files == ["ntk"]
            assert (k["ntk"].shape, k["ntk"].dtype) == ((4, 30), dtype)


def test_predictions_are_written_in_the_classes_of_the_targets(data, tmp_path):
    out = tmp_path / "P.npz"
    assert main(["predict", str(data), str(data), "--net", "mlp:relu:1", "--out", str(out)]) == 0
    with np.load(out) as predicted:
        assert set(predicted["ntk"]) == {1, 5}


def test_training_data_without_targets_are_refused(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    assert main(["predict", *[str(tmp_path / "x.npy")] * 2, "--net", "mlp"]) == 2
    assert "has no targets" in capsys.readouterr().err


def test_without_a_checkout_there_are_no_papers_and_that_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("widenet.cli.repro.FOLDER", tmp_path)
    assert main(["repro", "--list"]) == 2
    assert "in a checkout of the repository" in capsys.readouterr().err


def test_an_array_without_x_lists_what_there_is(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", a=np.ones(2), b=np.ones(3))
    assert main(["kernel", str(tmp_path / "d.npz"), "--net", "mlp", "--out", str(tmp_path / "K.npz")]) == 2
    assert "it holds a, b, and none is called x" in capsys.readouterr().err
