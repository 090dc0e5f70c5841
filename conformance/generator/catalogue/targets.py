"""What the target is: the spreads, explicit values, KL, soft labels, and who receives mass."""

from __future__ import annotations

from generator.book import Book, Change, Fields

SPREADS = ("uniform", "others", "leaky")
FORMULA = {
    "uniform": "q = (1−ε)·e_y + ε/K",
    "others": "q_y = 1−ε, the others ε/(K−1)",
    "leaky": "q_y = 1−ε, the others ε/K: mass below 1",
}


def targets() -> Book:
    """Every spread at several ε and K, the explicit values, and KL."""
    book = Book()
    for shape in ("rows", "pairs", "single"):
        for spread in SPREADS:
            for epsilon in (0.0, 0.1, 0.25, 1.0) if shape == "rows" else (0.1, 1.0):
                book.add(
                    f"spread-{spread}",
                    f"{FORMULA[spread]}, at ε = {epsilon}",
                    shape=shape,
                    label_smoothing=epsilon,
                    spread=spread,
                )
    for shape, on, off in (
        ("rows", 0.9, 0.005),
        ("rows", 1.0, 0.0),
        ("rows", 0.5, 0.5),
        ("rows", 0.75, 0.0),
        ("rows", 0.0, 0.25),
        ("pairs", 0.9, 0.1),
        ("pairs", 1.0, 1.0),
        ("single", 0.9, 0.005),
    ):
        comment = f"q_y = {on}, the others {off}, whatever they add up to"
        book.add("values", comment, shape=shape, values=[on, off])
    _more_smoothing(book)
    _kl(book)
    return book


def _more_smoothing(book: Book) -> None:
    """Values of ε that a dtype cannot hold, in the dtype that would show it."""
    for spread in SPREADS:
        for epsilon, dtype in ((0.3, "float64"), (0.001, "float32"), (0.9, "float64")):
            book.add(
                f"epsilon-{spread}",
                f"ε = {epsilon} is no dyadic number: a detour through float32 shows in float64",
                dtype=dtype,
                label_smoothing=epsilon,
                spread=spread,
            )


def _kl(book: Book) -> None:
    for spread in SPREADS:
        for epsilon in (0.0, 0.1, 0.5, 1.0):
            book.add(
                f"kl-{spread}",
                f"cross-entropy minus H(q), q by {spread} at ε = {epsilon}: same gradient",
                label_smoothing=epsilon,
                spread=spread,
                kl=True,
            )
    book.add("kl-values", "H of a target of mass 0.92", kl=True, values=[0.9, 0.005])
    book.add("kl-values", "H of a target with zeros: 0·log 0 = 0", kl=True, values=[0.75, 0.0])
    book.add(
        "kl-values",
        "K = 1 and on = 0.9: −H is 0.9·log 0.9",
        shape="single",
        kl=True,
        values=[0.9, 0.005],
    )
    book.add("kl-single", "K = 1: nothing to say, loss 0", shape="single", kl=True, label_smoothing=0.1)
    for spread in ("others", "uniform"):
        book.add(
            "kl-masked",
            "the entropy of masked positions is not subtracted",
            shape="tokens",
            give="where sample_weight",
            kl=True,
            spread=spread,
            label_smoothing=0.1,
            denominator="weights",
        )


def soft_labels() -> Book:
    """Targets given outright: q = (1−ε)·t + ε·u; the gradient to t is exact too."""
    book = Book()
    cases: tuple[tuple[str, str, Fields], ...] = (
        ("plain", "", {}),
        ("prior", "prior", {}),
        ("exclude", "", {"exclude": [1]}),
        ("allowed", "allowed", {}),
        ("allowed-here", "allowed_here", {}),
        ("per-class", "class_weight", {"class_weight_rule": "per_class"}),
        ("expected", "class_weight", {"class_weight_rule": "expected"}),
        ("z-loss", "", {"z_loss": 1e-2}),
        ("masked", "where sample_weight", {"denominator": "weights"}),
        (
            "everything",
            "where sample_weight class_weight prior allowed",
            {"exclude": [4], "z_loss": 1e-3},
        ),
    )
    for name, give, spec in cases:
        for epsilon in (0.0, 0.1) if name not in ("plain", "per-class") else (0.0, 0.1, 1.0):
            book.add(
                f"soft-{name}",
                f"q = {1 - epsilon:g}·t + {epsilon:g}·u, with {give or 'nothing else'}",
                give=f"soft {give}",
                label_smoothing=epsilon,
                **spec,
            )
    for epsilon, give in ((0.0, ""), (0.1, ""), (0.25, "prior")):
        book.add("soft-kl", "minus H(q)", give=f"soft {give}", kl=True, label_smoothing=epsilon)
    _loose_soft_labels(book)
    return book


def _loose_soft_labels(book: Book) -> None:
    """Soft labels whose sum is not quite 1, masked garbage, and a class axis in the middle."""
    nearly = {0: 0.5, 1: 0.25, 2: 0.25 - 2.0**-10, 3: 0.0, 4: 0.0}
    book.add(
        "soft-mass",
        "Σt = 1 − 2^-10 is within bounds, and mass = (1−ε)·Σt + ε",
        dtype="float32",
        give="soft",
        put={"labels": nearly},
        label_smoothing=0.1,
    )
    book.add(
        "soft-masked-garbage",
        "NaN and negative soft labels at a masked position are never read",
        give="soft where",
        put={
            "where": [True, False, True, True],
            "labels": {5: float("nan"), 6: -2.0, 7: 7.0},
        },
        label_smoothing=0.1,
    )
    book.add(
        "soft-nothing-receives",
        "the only allowed class is excluded: q = t",
        give="soft allowed",
        put={
            "allowed": [False, True, False, False, False],
            "labels": [0.0, 1.0, 0.0, 0.0, 0.0] * 4,
        },
        label_smoothing=0.1,
        exclude=[1],
    )
    for epsilon in (0.0, 0.1):
        book.add(
            "soft-middle",
            "class axis in the middle",
            shape="middle",
            give="soft where",
            label_smoothing=epsilon,
        )


def receivers() -> Book:
    """prior × exclude × allowed × spread: where the mass goes."""
    book = Book()
    for spread in SPREADS:
        for give in ("", "prior", "allowed", "prior allowed", "allowed_here", "prior allowed_here"):
            for exclude in ([], [3], [0, 4]):
                if not give and not exclude:
                    continue
                if len(exclude) == 2 and give not in ("", "prior", "allowed_here"):
                    continue
                book.add(
                    f"receivers-{spread}",
                    f"{give or 'no argument'}, exclude = {exclude}: c = prior × included × allowed",
                    give=give,
                    label_smoothing=0.1,
                    spread=spread,
                    exclude=exclude,
                )
    for give, exclude in (("", [1]), ("allowed", []), ("allowed_here", [2])):
        comment = "q_k = off only where included and allowed"
        book.add("receivers-values", comment, give=give, values=[0.9, 0.025], exclude=exclude)
    _no_receiver(book)
    _combined_receivers(book)
    _two_without_a_receiver(book)
    return book


def _no_receiver(book: Book) -> None:
    """C = 0: q = e_y, except that leaky keeps q_y = 1 − ε."""
    alone: dict[str, Change] = {
        "allowed": [False, False, True, False, False],
        "labels": [2, 2, 2, 2],
    }
    for spread in SPREADS:
        book.add(
            "no-receiver",
            f"{spread}: the only allowed class is excluded, so no class can receive mass",
            give="allowed",
            put=alone,
            label_smoothing=0.25,
            spread=spread,
            exclude=[2],
        )
        book.add(
            "label-alone",
            f"{spread}: the label's class is the only one that is allowed",
            give="allowed",
            put=alone,
            label_smoothing=0.25,
            spread=spread,
        )
        book.add(
            "label-excluded",
            f"{spread}: the label's own class is excluded: it gets 1−ε and no share",
            put={"labels": [1, 3, 1, 0]},
            label_smoothing=0.25,
            spread=spread,
            exclude=[1],
        )
        book.add(
            "prior-with-zeros",
            f"{spread}: prior 0 gives a class no mass; its derivative is not 0",
            give="prior",
            put={"prior": [0.5, 0.0, 0.25, 0.25, 0.0], "labels": [0, 1, 2, 4]},
            label_smoothing=0.25,
            spread=spread,
        )
    book.add("no-receiver", "values: q_y = on even so", give="allowed", put=alone, values=[0.9, 0.025])


def _combined_receivers(book: Book) -> None:
    for spread in SPREADS:
        book.add(
            "receivers-kl",
            f"{spread}, prior and exclusion, minus H(q)",
            give="prior",
            label_smoothing=0.1,
            spread=spread,
            exclude=[2],
            kl=True,
        )
        book.add(
            "receivers-masked",
            f"{spread}, prior, allowed by position, mask and sample weights together",
            shape="tokens",
            give="prior allowed_here where sample_weight",
            label_smoothing=0.1,
            spread=spread,
            denominator="valid",
            reduction="mean",
        )
    for shape in ("middle", "pixels"):
        book.add(
            "receivers-layout",
            "allowed by position has the logits' layout, the class axis included",
            shape=shape,
            give="allowed_here where",
            label_smoothing=0.1,
        )


def _two_without_a_receiver(book: Book) -> None:
    """Two classes exist and both are excluded: nobody receives ε, and the loss is not 0."""
    put: dict[str, Change] = {"allowed": [True, False, False, True, False], "labels": [0, 3, 3, 0]}
    for spread in SPREADS:
        book.add(
            "no-receiver-of-two",
            f"{spread}: only classes 0 and 3 exist, and both are excluded",
            give="allowed",
            put=put,
            label_smoothing=0.25,
            spread=spread,
            exclude=[0, 3],
        )
    for rule in ("per_class", "per_label", "expected", "label_term"):
        book.add(
            "no-receiver-of-two",
            f"the same with class weights, rule {rule}: all of the label's mass is its own",
            give="allowed class_weight",
            put=put,
            label_smoothing=0.25,
            exclude=[0, 3],
            class_weight_rule=rule,
        )
