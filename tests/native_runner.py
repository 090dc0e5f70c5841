"""Runs the snippets of ``as_native`` where multismooth is not installed.

    python -I -S native_runner.py FRAMEWORK FOLDER PATHS…

``-I`` leaves out PYTHONPATH and the folder of this file, ``-S`` the path files, by one of which a checkout is
installed; PATHS are where the frameworks are. FOLDER has calls.json, a list of {code, inputs, keywords}, and
inputs.npz; the losses and the gradients go to results.npz.
"""

import importlib.util
import json
import os
import sys

framework, folder, *paths = sys.argv[1:]
sys.path += paths
assert importlib.util.find_spec("multismooth") is None, "multismooth is installed here"

import numpy as np  # noqa: E402 – not before it is known that multismooth is not here


def torch(loss, logits, cotangent, rest):
    import torch

    x = torch.tensor(logits, requires_grad=True)
    value = loss(x, **{name: torch.tensor(array) for name, array in rest.items()})
    (gradient,) = torch.autograd.grad(value, x, torch.tensor(cotangent[: value.numel()]).reshape(value.shape))
    return value.detach().numpy(), gradient.numpy()


def optax(loss, logits, cotangent, rest):
    import jax

    jax.config.update("jax_enable_x64", True)
    rest = {name: jax.numpy.asarray(array) for name, array in rest.items()}
    value, pull = jax.vjp(lambda x: loss(x, **rest), jax.numpy.asarray(logits))
    return value, pull(jax.numpy.asarray(cotangent[: value.size].reshape(value.shape), value.dtype))[0]


def tensorflow(loss, logits, cotangent, rest):
    import tensorflow as tf

    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x, **{name: tf.constant(array) for name, array in rest.items()})
    gradient = tape.gradient(value, x, tf.constant(cotangent[: tf.size(value)].reshape(value.shape)))
    return value.numpy(), gradient.numpy()


def keras(loss, logits, cotangent, rest):
    from keras.backend import backend

    return {"torch": torch, "jax": optax, "tensorflow": tensorflow}[backend()](loss, logits, cotangent, rest)


def main():
    with open(os.path.join(folder, "calls.json"), encoding="utf-8") as file:
        calls = json.load(file)
    inputs = np.load(os.path.join(folder, "inputs.npz"))
    results = {}
    for number, call in enumerate(calls):
        names = {}
        exec(compile(call["code"], f"snippet {number}", "exec"), names)
        arrays = {name: inputs[f"{call['inputs']}.{name}"] for name in ["labels", *call["keywords"]]}
        logits = inputs[f"{call['inputs']}.logits"]
        cotangent = inputs[f"{call['inputs']}.cotangent"]
        try:
            value, gradient = globals()[framework](names["loss"], logits, cotangent, arrays)
        except Exception as error:
            raise RuntimeError(call["code"]) from error
        results |= {f"{number}.loss": np.asarray(value), f"{number}.gradient": np.asarray(gradient)}
    assert "multismooth" not in sys.modules
    np.savez(os.path.join(folder, "results.npz"), **results)


main()
