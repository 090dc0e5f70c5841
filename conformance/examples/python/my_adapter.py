"""Shows the loss to the conformance suite."""

import numpy as np
from my_loss import BadValue, cross_entropy

from multismooth_conformance import Adapter


class MyAdapter(Adapter):
    name = "mine"
    modes = ("eager",)
    arguments = ("class_weight",)  # of where, sample_weight, class_weight, prior, allowed and normalizer
    refuses = True  # bad values raise an error

    def supports(self, spec):
        fixed = {
            "soft_labels": False,
            "spread": "uniform",
            "values": None,
            "exclude": [],
            "kl": False,
            "z_loss": 0,
            "class_weight_rule": "per_class",
            "out_of_range": "raise",
            "reduction": "mean",
            "denominator": "class_weights" if "class_weight" in spec["given"] else "valid",
        }
        for field, value in fixed.items():
            if spec[field] != value:
                return f"has only {field}={value!r}"
        return None if spec["dtype"] in ("float32", "float64") else "has no half precision"

    def run(self, inputs, cotangent, mode):
        rows = np.moveaxis(inputs.arrays["logits"], inputs.axis, -1)
        try:
            loss, gradient = cross_entropy(
                rows.reshape(-1, rows.shape[-1]),
                inputs.arrays["labels"].reshape(-1),
                inputs.spec["label_smoothing"],
                inputs.spec["ignore_index"],
                inputs.arrays.get("class_weight"),
            )
        except BadValue as error:
            error.reason = {"label": "label_out_of_range", "class weight": "bad_class_weight"}[str(error)]
            raise
        return loss, {"logits": np.moveaxis(cotangent * gradient.reshape(rows.shape), -1, inputs.axis)}


ADAPTER = MyAdapter()
