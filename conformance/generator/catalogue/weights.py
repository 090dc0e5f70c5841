"""Class weights under each rule, and the z-loss, which they never touch."""

from __future__ import annotations

from generator.book import Book, Fields

RULES = ("per_class", "per_label", "expected", "label_term")


def class_weights() -> Book:
    """Four rules × spreads × denominators × what else there is."""
    book = Book()
    _rules_and_spreads(book)
    _rules_and_denominators(book)
    _rules_and_arguments(book)
    _zeros(book)
    return book


def _rules_and_spreads(book: Book) -> None:
    for rule in RULES:
        for spread in ("uniform", "others", "leaky") if rule != "label_term" else ("uniform",):
            for epsilon in (0.0, 0.1):
                if epsilon == 0.0 and spread != "uniform":
                    continue
                book.add(
                    f"class-weight-{_kebab(rule)}",
                    f"rule {rule}, {spread} at ε = {epsilon}",
                    give="class_weight",
                    label_smoothing=epsilon,
                    spread=spread,
                    class_weight_rule=rule,
                )
        if rule != "label_term":
            book.add(
                f"class-weight-{_kebab(rule)}",
                f"rule {rule} on explicit values",
                give="class_weight",
                values=[0.9, 0.025],
                class_weight_rule=rule,
            )


def _rules_and_denominators(book: Book) -> None:
    for rule in RULES:
        for name in ("class_weights", "expected_class_weights"):
            book.add(
                f"class-weight-{_kebab(name)}",
                f"rule {rule}; D = {name} counts the mask and not the sample weights",
                shape="tokens",
                give="class_weight where sample_weight",
                label_smoothing=0.1,
                class_weight_rule=rule,
                denominator=name,
                reduction="mean",
            )
    for name in ("class_weights", "expected_class_weights"):
        book.add(
            f"class-weight-{_kebab(name)}",
            "without class weights they are all 1",
            give="where",
            label_smoothing=0.1,
            denominator=name,
            reduction="mean",
        )
    for spread in ("others", "leaky"):
        book.add(
            "class-weight-expected-prior",
            f"D = Σ q·w depends on the prior: its derivative has that part too, {spread}",
            give="class_weight prior where",
            label_smoothing=0.25,
            spread=spread,
            class_weight_rule="expected",
            denominator="expected_class_weights",
            reduction="mean",
        )


def _rules_and_arguments(book: Book) -> None:
    arguments: tuple[tuple[str, Fields], ...] = (
        ("prior", {"exclude": [2]}),
        ("allowed_here", {}),
        ("where sample_weight", {"denominator": "weights", "z_loss": 1e-2}),
    )
    for rule in RULES:
        for give, more in arguments:
            book.add(
                f"class-weight-{_kebab(rule)}-with",
                f"rule {rule} with {give}",
                give=f"class_weight {give}",
                label_smoothing=0.1,
                class_weight_rule=rule,
                **more,
            )
    book.add(
        "class-weight-torch",
        "the index form of torch: per_class, divided by Σ m·w_y, ignored positions left out",
        shape="pixels",
        give="class_weight ignored",
        label_smoothing=0.1,
        ignore_index=-100,
        denominator="class_weights",
        empty="nan",
        reduction="mean",
    )
    book.add(
        "class-weight-single",
        "K = 1: every rule gives 0",
        shape="single",
        give="class_weight",
        label_smoothing=0.1,
    )


def _zeros(book: Book) -> None:
    for rule in RULES:
        book.add(
            "class-weight-zero",
            f"rule {rule}: class weights of 0 switch terms off",
            give="class_weight",
            put={"class_weight": {0: 0.0, 3: 0.0}, "labels": [0, 1, 3, 2]},
            label_smoothing=0.1,
            class_weight_rule=rule,
        )
    for empty in ("zero", "nan"):
        book.add(
            "class-weight-zero-denominator",
            f"Σ m·w_y = 0 although the smoothing part is not: the mean is {empty}, gradients 0",
            give="class_weight",
            put={"class_weight": {0: 0.0, 3: 0.0}, "labels": [0, 3, 3, 0]},
            label_smoothing=0.1,
            denominator="class_weights",
            empty=empty,
            reduction="mean",
        )


def z_loss() -> Book:
    """z_loss·lse² beside everything else; masked and divided with the loss."""
    book = Book()
    for coefficient in (1e-4, 0.25):
        for spread in ("uniform", "others", "leaky"):
            book.add(
                "z-loss",
                f"{coefficient}·lse², {spread}",
                label_smoothing=0.1,
                spread=spread,
                z_loss=coefficient,
            )
    book.add("z-loss", "at ε = 0", z_loss=1e-2)
    book.add("z-loss", "K = 1: lse = x, so the loss is z·x²", shape="single", z_loss=0.25)
    book.add(
        "z-loss",
        "with KL, as T5X has it",
        spread="others",
        label_smoothing=0.1,
        kl=True,
        z_loss=1e-4,
    )
    book.add("z-loss", "on explicit values", values=[0.9, 0.025], z_loss=1e-2)
    arguments: tuple[tuple[str, Fields], ...] = (
        ("where", {}),
        ("where sample_weight", {"denominator": "weights"}),
        ("where sample_weight", {"denominator": "sequences"}),
        ("where class_weight", {"class_weight_rule": "per_label"}),
        ("where class_weight", {"class_weight_rule": "per_class", "denominator": "class_weights"}),
    )
    for give, spec in arguments:
        book.add(
            "z-loss-with",
            f"with {give}: masked and divided like the loss, never class-weighted",
            shape="tokens",
            give=give,
            label_smoothing=0.1,
            z_loss=1e-2,
            **spec,
        )
    book.add(
        "z-loss-allowed",
        "lse runs over the allowed classes only",
        give="allowed_here",
        label_smoothing=0.1,
        z_loss=0.25,
    )
    book.add(
        "z-loss-large",
        "logits near 1e4: lse² near 1e8",
        dtype="float64",
        rows={
            0: [9984.0, 9983.0, 9980.5, 9979.0, 9984.5],
            2: [-9984.0, -9983.0, -9980.5, -9979.0, -9984.5],
        },
        z_loss=1e-4,
    )
    return book


def _kebab(name: str) -> str:
    return name.replace("_", "-")
