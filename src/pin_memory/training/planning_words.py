"""The plan of a run as text."""

from typing import Any

from pin_memory.callbacks.progress import describe_seconds

_MIB = 2**20


def words(plan: dict[str, Any]) -> str:
    """Write a plan for the terminal.

    Args:
        plan: What `planning.plan` returned, with the "device".
    """
    lines = [f"Plan of {plan['name']} (dry run; two iterations were made, nothing of them is kept)"]
    lines += [f"  {name:<11} {text}" for name, text in _rows(plan)]
    return "\n".join(lines)


def _rows(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and text of each line."""
    seconds = plan["seconds"]
    on = "on the GPU" if plan["device"].startswith("cuda") else "resident"
    return [
        ("sources", f"{_counts(plan['sources'])} training images"),
        ("targets", f"{_counts(plan['targets'])} test images" if plan["targets"] else "not tested (test=false)"),
        ("batch", f"{_share(plan['batch_sizes'])} on {plan['devices']} device(s): {plan['images_an_iteration']} images an iteration"),
        ("method", f"{plan['method']}, {plan['network']}, {plan['precision']}, {plan['device']}"),
        ("parameters", f"{plan['parameters']:,} ({plan['trainable']:,} trained)"),
        ("losses", ", ".join(f"{name.removeprefix('loss/')} {value:.3g}" for name, value in plan["losses"].items())),
        ("memory", f"{plan['peak_bytes'] / _MIB:,.0f} MiB {on} at the peak of the two iterations, in each process"),
        ("iterations", _length(plan)),
        ("validation", _validations(plan)),
        ("iteration", _iteration(plan)),
        ("duration", _duration(seconds)),
        ("written", _written(plan)),
    ]


def _counts(numbers: dict[str, int]) -> str:
    """Name and number of each domain."""
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _share(sizes: dict[str, int]) -> str:
    """The images of each source in a batch."""
    if len(set(sizes.values())) == 1:
        return f"{next(iter(sizes.values()))} images of each of {len(sizes)} sources"
    return f"{_counts(sizes)} images"


def _length(plan: dict[str, Any]) -> str:
    """Iterations in all and those that are made."""
    steps, epoch, done = plan["iterations"], plan["iterations_an_epoch"], plan["done"]
    if steps is None:
        end = f"until it is stopped (neither trainer.max_steps nor trainer.max_epochs ends the run), {epoch} an epoch"
        return end + (f"; {done} are made" if done else "")
    return f"{steps}, {steps / max(epoch, 1):.1f} epochs of {epoch}" + (f"; {done} of them are made" if done else "")


def _validations(plan: dict[str, Any]) -> str:
    """How often, on what."""
    if plan["validations"] is None:
        return f"each time {_counts(plan['validated'])} images"
    return f"{plan['validations']} times {_counts(plan['validated'])} images" if plan["validations"] else "none before the end"


def _iteration(plan: dict[str, Any]) -> str:
    """What an iteration takes, and of what."""
    seconds, processes = plan["seconds"], plan["loading_processes"]
    if not processes:
        return f"{seconds['iteration']:.2f} s: the step {seconds['step']:.2f} s, then its images {seconds['loading']:.2f} s"
    loading = f"its images meanwhile {seconds['loading'] / processes:.2f} s ({seconds['loading']:.2f} s of CPU, {processes} processes)"
    slow = "; loading is the bottleneck: raise loading.num_workers, if there are CPUs" if seconds["iteration"] > seconds["step"] else ""
    return f"{seconds['iteration']:.2f} s: the step {seconds['step']:.2f} s, {loading}{slow}"


def _duration(seconds: dict[str, float | None]) -> str:
    """The whole and its parts, those that take no time left out."""
    if seconds["training"] is None:
        return "without an end"
    names = {"initialisation": "initialising the memory"} | {name: name for name in ("training", "validation", "test", "floors")}
    parts = {text: taken for name, text in names.items() if (taken := seconds[name])}
    return f"about {describe_seconds(sum(parts.values()))}: " + ", ".join(f"{text} {describe_seconds(s)}" for text, s in parts.items())


def _written(plan: dict[str, Any]) -> str:
    """Where the run writes, how much, and whether there is room."""
    size, free = plan["checkpoint_bytes"], plan["free_bytes"]
    room = f"{free / _MIB:,.0f} MiB are free there" + (": too little" if free < 3 * size else "")
    return f"{plan['run']}: checkpoints of {size / _MIB:,.0f} MiB each, metrics, pictures, results; {room}"
