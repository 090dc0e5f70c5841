"""One training run, moved from PyTorch to Flax to Keras, without a seam in its loss curve.

    python examples/port/run.py [--dialect torch] [--label-smoothing 0.1] [--steps 120] [--out results/port]

(a) The whole run in each of four stacks agrees. (b) The run that changes hands equals the unbroken one. Where one of
them does not, the exit code is 1. (c) For comparison: the same hand-over with the frameworks' own losses.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import compare
from compare import Row, Seam
from data import BATCH, UNLABELLED, Data, make_data
from launch import Launcher, StackError
from picture import draw
from plan import DTYPES, LANES, ROUTE, STACKS, Part, Plan
from rich.console import Console
from rich.table import Table
from state import initial_state
from worker import Task

from multismooth import Spec
from multismooth.dialects import DIALECTS

STEPS = 120
LEARNING_RATE = 1 / 16
MOMENTUM = 0.9


def main() -> int:
    arguments = parse_arguments()
    console = Console()
    started = time.monotonic()
    spec = choose_spec(arguments.dialect, arguments.label_smoothing)
    plan = Plan(fresh_folder(arguments.out / "files"), arguments.steps)
    data = make_data(plan.steps)
    show_header(console, arguments, spec, data)
    try:
        seconds = Launcher(prepare(plan, spec, data, arguments.label_smoothing), plan.folder, console).run()
    except StackError as error:
        console.print(f"port failed: {error}", style="bold red", markup=False)
        return 1
    results = collect(plan, spec, seconds)
    report(console, results)
    (arguments.out / "results.json").write_text(json.dumps(as_data(results), indent=1))
    draw(plan, results, arguments.out / "port.png")
    console.print(f"\n{time.monotonic() - started:.0f} s; picture and numbers: {arguments.out}/port.png, results.json")
    return conclude(console, results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialect", choices=DIALECTS, default="torch", help="the loss of the run")
    parser.add_argument("--label-smoothing", type=float, help="ε, 0.1 where the dialect has one")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of the run, {STEPS} by default, at least 3")
    parser.add_argument("--out", type=Path, default=Path("results/port"), help="folder of the results")
    arguments = parser.parse_args()
    if arguments.steps < len(ROUTE):
        parser.error(f"--steps is {arguments.steps}, and three frameworks share them: pass 3 or more")
    fixed = DIALECTS[arguments.dialect].smoothing is None
    if fixed and arguments.label_smoothing is not None:
        parser.error(f"the dialect {arguments.dialect} has no smoothing to choose: leave out --label-smoothing")
    if arguments.label_smoothing is None:
        arguments.label_smoothing = 0.1
    if not 0 <= arguments.label_smoothing <= 1:
        parser.error(f"--label-smoothing is {arguments.label_smoothing}: pass a number from 0 to 1")
    return arguments


def choose_spec(dialect: str, label_smoothing: float) -> Spec:
    """The dialect, told that 255 is unlabelled; a mean, because a step of SGD needs one number of stable size."""
    spec = DIALECTS[dialect].smoothed(label_smoothing)
    return replace(spec, ignore_index=UNLABELLED, reduction="mean")


def learning_rate(spec: Spec) -> float:
    """A loss per image is a sum over its labelled pixels, about 30 of them: smaller steps, by a power of two."""
    return LEARNING_RATE / 32 if spec.denominator == "batch" else LEARNING_RATE


def fresh_folder(folder: Path) -> Path:
    """Empty, since the stacks append to their records."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jsonl"):
        old.unlink()
    return folder.resolve()


def prepare(plan: Plan, spec: Spec, data: Data, label_smoothing: float) -> dict[Part, Task]:
    """Write what all processes read, and make their tasks."""
    data_file, spec_file = plan.folder / "data.npz", plan.folder / "spec.json"
    data.save(data_file)
    spec_file.write_text(spec.to_json())
    for dtype in DTYPES:
        for run in ("handover", "own-handover", "own-whole", *(f"whole-{stack}" for stack in STACKS)):
            initial_state(dtype).save(plan.state(run, dtype, 0))
    shared = (str(data_file), str(spec_file), label_smoothing, learning_rate(spec), MOMENTUM)
    return {part: Task(part.stack, *shared, plan.jobs(part)) for lane in LANES for part in lane}


def collect(plan: Plan, spec: Spec, seconds: dict[Part, float]) -> dict[str, Any]:
    """Everything that was measured."""
    own, own_whole = compare.read_run(plan, "own-handover", "float64"), compare.read_run(plan, "own-whole", "float64")
    return {
        "spec": spec.to_json(),
        "steps": plan.steps,
        "seconds": {str(part): time for part, time in seconds.items()},
        "stacks": compare.compare_stacks(plan),
        "handover": compare.compare_handover(plan),
        "seams": {dtype: compare.find_seams(plan, "handover", dtype) for dtype in DTYPES},
        "own_seams": compare.find_seams(plan, "own-handover", "float64"),
        "own_labelled_seams": compare.labelled_seams(plan),
        "own_weights": compare.weight_difference(own.weights, own_whole.weights),
        "final_losses": compare.final_losses(plan),
        "curves": {
            "whole": compare.read_run(plan, "whole-torch", "float64").losses,
            "handover": compare.read_run(plan, "handover", "float64").losses,
            "own_whole": own_whole.losses,
            "own_handover": own.losses,
        },
    }


def as_data(value: Any) -> Any:
    """For JSON: rows and seams as objects, arrays as lists."""
    match value:
        case Row():
            return value.as_dict()
        case Seam():
            return {**asdict(value), "ratio": value.ratio}
        case dict():
            return {name: as_data(item) for name, item in value.items()}
        case list():
            return [as_data(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def show_header(console: Console, arguments: argparse.Namespace, spec: Spec, data: Data) -> None:
    share = 100 * data.labelled_share()
    dialect = DIALECTS[arguments.dialect]
    original = dialect.smoothed(arguments.label_smoothing)
    lines = [f"The loss  {dialect.library}: {spec!r}"]
    for field in ("ignore_index", "reduction"):
        before, now = getattr(original, field), getattr(spec, field)
        if before != now:
            lines.append(f"          with {field}={now!r} in the place of {before!r}")
    lines += [
        f"The data  {len(data.images)} images of 32×32 put together from scanned digits;",
        f"          {share.min():.1f} % to {share.max():.1f} % of a batch's pixels are labelled",
        f"The run   {arguments.steps} steps of {BATCH} images, SGD with momentum {MOMENTUM} and a learning rate of "
        f"{learning_rate(spec):g}",
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def report(console: Console, results: dict[str, Any]) -> None:
    console.print(rows_table("(a) The whole run in each stack, against the other three", results["stacks"]))
    console.print(rows_table(f"(b) {' → '.join(ROUTE)}, against the four unbroken runs", results["handover"]))
    seams = [(f"ours, {dtype}", seam) for dtype in DTYPES for seam in results["seams"][dtype]]
    seams += [("their own", seam) for seam in results["own_seams"]]
    seams += [("own, labelled", seam) for seam in results["own_labelled_seams"]]
    console.print(seams_table(seams))
    show_ends(console, results)


def rows_table(title: str, rows: Iterable[Row]) -> Table:
    table = Table("run", "dtype", title=title, title_justify="left", title_style="bold")
    for name in ("final loss", "losses", "weights", "bound", "ok"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        differences = (f"{row.losses:.1e}", f"{row.weights:.1e}", f"{row.bound:.0e}")
        verdict = "[green]yes[/]" if row.ok else "[bold red]NO[/]"
        table.add_row(row.run, row.dtype, f"{row.final_loss:.9f}", *differences, verdict)
    return table


def seams_table(seams: Iterable[tuple[str, Seam]]) -> Table:
    """(c) beside (b): what one batch's loss does at each hand-over, with the same weights."""
    title = "(c) One batch's loss with the same weights, before and after a hand-over"
    note = "their own: each as documented; own, labelled: the same with a mean over the labelled pixels"
    table = Table("loss", "hand-over", title=title, title_justify="left", title_style="bold", caption=note)
    for name in ("step", "before", "after", "factor"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, seam in seams:
        losses = (f"{seam.before:.6f}", f"{seam.after:.6f}", seam.factor())
        table.add_row(name, f"{seam.giver} → {seam.taker}", str(seam.step), *losses)
    return table


def show_ends(console: Console, results: dict[str, Any]) -> None:
    ends, apart = results["final_losses"], results["own_weights"]
    console.print(
        "After the last step, the loss of all images:\n"
        f"  ours       {ends['handover']:.6f} handed over, {ends['whole-torch']:.6f} unbroken\n"
        f"  their own  {ends['own-handover']:.6f} handed over, {ends['own-whole']:.6f} unbroken (both by torch's)\n"
        f"             where a weight ends {apart:.1%} of the largest weight away",
        highlight=False,
    )


def conclude(console: Console, results: dict[str, Any]) -> int:
    """0 if (a) and (b) hold, else 1 and a sentence for each that does not."""
    failed = [row for row in (*results["stacks"], *results["handover"]) if not row.ok]
    for row in failed:
        console.print(
            f"port failed: {row.run} in {row.dtype} differs by {row.losses:.1e} in its losses and {row.weights:.1e} in "
            f"its weights, most of all from the unbroken {row.farthest}; the bound is {row.bound:.0e}.",
            style="bold red",
            soft_wrap=True,
        )
    if not failed:
        console.print("(a) and (b) hold: one curve, no seam.", style="bold green")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
