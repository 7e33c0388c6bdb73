"""Writes golden.json: duals and slopes of functions without closed form, by mpmath with 25 digits.

Independent of the library: nested Gauss-Legendre in u and v given u, split at the kinks.
Run `python -m tests.activations.make_golden` (a few minutes); it is not a test.
"""

import json
from itertools import pairwise
from multiprocessing import Pool
from pathlib import Path

import mpmath as mp
import numpy as np

mp.mp.dps = 25
FILE = Path(__file__).with_name("golden.json")
CORRELATIONS = ("-1", "-0.9", "0", "0.3", "0.999", "1")
VARIANCES = (("1.7", "0.6"), ("1", "1"))
SCALE, ALPHA = mp.mpf("1.0507009873554805"), mp.mpf("1.6732632423543772")


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


FUNCTIONS = {  # phi, phi' and the kinks
    "tanh": (mp.tanh, lambda x: mp.sech(x) ** 2, ()),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x), ()),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x)), ()),
    "mish": (
        lambda x: x * mp.tanh(softplus(x)),
        lambda x: mp.tanh(softplus(x)) + x * mp.sech(softplus(x)) ** 2 * sigmoid(x),
        (),
    ),
    "softplus": (softplus, sigmoid, ()),
    "elu": (lambda x: x if x > 0 else mp.expm1(x), lambda x: mp.mpf(1) if x > 0 else mp.exp(x), (0,)),
    "selu": (
        lambda x: SCALE * (x if x > 0 else ALPHA * mp.expm1(x)),
        lambda x: SCALE * (1 if x > 0 else ALPHA * mp.exp(x)),
        (0,),
    ),
}
LADDER = [s * mp.mpf(x) for s in (-1, 1) for x in ("0.05", "0.1", "0.2", "0.4", "0.8", "1.6", "3", "5", "8", "11.5")]


def gauss(count):
    mp.mp.dps = 25
    nodes = []
    for start in np.polynomial.legendre.leggauss(count)[0]:
        x = mp.findroot(lambda t: mp.legendre(count, t), mp.mpf(float(start)))
        slope = count * (x * mp.legendre(count, x) - mp.legendre(count - 1, x)) / (x * x - 1)
        nodes.append((x, 2 / ((1 - x * x) * slope**2)))
    return nodes


NODES = gauss(16)


def integrate(f, knots):
    total = mp.mpf(0)
    for a, b in pairwise(knots):
        for x, w in NODES:
            t = (a + b + (b - a) * x) / 2
            total += (b - a) / 2 * w * f(t) * mp.npdf(t)
    return total


def expectation(f, kinks, q1, q2, c):
    p1, p2 = mp.sqrt(q1), mp.sqrt(q2)
    outer = sorted({mp.mpf(0), *LADDER, *(mp.mpf(b) / p1 for b in kinks)})
    if abs(c) == 1:
        cuts = sorted({*outer, *(c * b / p2 for b in kinks)})
        return integrate(lambda x: f(p1 * x) * f(p2 * c * x), cuts)
    rest = mp.sqrt(1 - c * c)
    base = [mp.mpf(x) for x in ("-11.5", "-7", "-4", "-2", "-1", "0", "1", "2", "4", "7", "11.5")]

    def inner(x):
        crossings = [(b / p2 - c * x) / rest for b in kinks]
        knots = sorted({*base, *(y for y in crossings if abs(y) < 11)})
        return f(p1 * x) * integrate(lambda y: f(p2 * (c * x + rest * y)), knots)

    return integrate(inner, outer)


def row(job):
    mp.mp.dps = 25
    name, (q1, q2), c = job
    phi, prime, kinks = FUNCTIONS[name]
    values = [expectation(f, kinks, mp.mpf(q1), mp.mpf(q2), mp.mpf(c)) for f in (phi, prime)]
    return {"name": name, "q1": q1, "q2": q2, "c": c, "dual": mp.nstr(values[0], 20), "slope": mp.nstr(values[1], 20)}


if __name__ == "__main__":
    jobs = [(name, q, c) for name in FUNCTIONS for q in VARIANCES for c in CORRELATIONS]
    jobs += [("tanh", (q, q), c) for q in ("0.1", "3", "9") for c in ("0.5", "0.99", "1")]
    with Pool(3) as pool:
        FILE.write_text(json.dumps(pool.map(row, jobs, chunksize=1), indent=0) + "\n")
