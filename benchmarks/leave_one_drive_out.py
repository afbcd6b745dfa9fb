"""Methods on real frames: train on three CamVid drives, evaluate on the fourth, for every drive and several seeds.

    python -m benchmarks.leave_one_drive_out data=DIR output=DIR [jobs=2] [seeds=1,2,3] [methods=erm,mldg] [steps=250] [override ...]
    python -m benchmarks.leave_one_drive_out data=DIR output=DIR methods=erm,pin_the_memory,mixture,quiet # variants: what holds it back
    python -m benchmarks.leave_one_drive_out data=DIR output=DIR methods=erm,frozen,lora,lora_pin_the_memory # what of a backbone learns
    python -m benchmarks.leave_one_drive_out data=DIR output=DIR text=FILE methods=erm,otp,ppar,otp_random # text: which part helps
    python -m benchmarks.leave_one_drive_out data=DIR output=DIR evaluated=windows # the same weights, applied differently

Runs that are there already are not repeated. Prints the table as Markdown: mean and standard deviation over seeds, and the gain over erm.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean, stdev

METHODS = ("erm", "mldg", "erm_memory", "pin_the_memory", "meta_seg_net_dg")
"""Those that train the experiment's network; `ibn_net` and `isw` need a ResNet: methods=erm,ibn_net network=deeplab_v3plus_resnet18."""
DRIVES = ("0001TP", "0006R0", "0016E5", "Seq05VD")
BUDGET = [
    "experiment=camvid_leave_one_out", "trainer.accelerator=cpu", "logger=csv", "augmentation.crop_size=128",
    "loading.max_val_images=10", "loading.max_test_images=60", "selection=last", "callbacks.panels=null",
]  # fmt: skip
"""The same for all methods, small enough for a CPU: small crops, the last weights, 60 evenly spaced target frames."""
EXTRA = {"isw": ["method.whitening.warmup_iterations=50", "method.whitening.images=100", "method.whitening.trials=3"]}
"""Published from iteration 3,716 of 29,720 and more on; here, a run has some hundred."""
_LORA = ["+adapter=lora", "network.adapter.targets=[conv_pw,conv_pwl]", "network.adapter.rank=16", "network.adapter.alpha=16"]
VARIANTS = {
    "mixture": ("pin_the_memory", ["method.train_statistics=mixture"]),
    "quiet": ("pin_the_memory", ["network.memory.gumbel=false"]),
    "sharp": ("pin_the_memory", ["network.memory.gumbel=false", "network.memory.read_temperature=0.1"]),
    "momentum_95": ("pin_the_memory", ["network.memory.momentum=0.95"]),
    "momentum_50": ("pin_the_memory", ["network.memory.momentum=0.5"]),
    "area": ("pin_the_memory", ["network.memory.shares=area"]),
    "frozen": ("erm", ["network.backbone.freeze=all"]),
    "lora": ("erm", _LORA),
    "lora_pin_the_memory": ("pin_the_memory", _LORA),
}  # fmt: skip
"""Settings that may hold Pin the Memory back, one at a time, and ways to train a backbone: method and overrides."""
_OTP = ["method.alignment.vtp=0", "method.alignment.reweight=null"]
_START = ["network.memory.anchor_weight=0.1"]
WITH_TEXT = {
    "otp": ("ppar", [*_OTP, "method.alignment.curriculum=false"]),
    "otp_curriculum": ("ppar", _OTP),
    "otp_vtp": ("ppar", ["method.alignment.reweight=null"]),
    "ppar": ("ppar", []),  # all of it, cells reweighted
    "ppar_image": ("ppar", ["method.alignment.reweight=image"]),
    "ppar_domain": ("ppar", ["method.alignment.reweight=domain"]),
    "otp_random": ("ppar", [*_OTP, "text.rows=random"]),
    "otp_shuffled": ("ppar", [*_OTP, "text.rows=shuffled"]),
    "start_features": ("pin_the_memory", ["+memory_start=features"]),
    "start_text": ("pin_the_memory", ["+memory_start=text"]),
    "start_procrustes": ("pin_the_memory", ["+memory_start=procrustes"]),
    "start_blend": ("pin_the_memory", ["+memory_start=blend"]),
    "anchored": ("pin_the_memory", ["+memory_start=procrustes", *_START]),
    "anchored_random": ("pin_the_memory", ["+memory_start=procrustes", "text.rows=random", *_START]),
}  # fmt: skip
"""Parts of the alignment with text and starts of the memory: method and overrides, to which text.path is added."""

EVALUATED = {
    "image": ["test_statistics=image"],
    "windows": ["protocol=sliding_768", "protocol.window=[128,128]", "protocol.window_batch=20"],
}  # fmt: skip
"""Other ways to evaluate the same weights: batch norm by each image's own statistics; windows of the training crop's size."""


def main(arguments: list[str]) -> None:
    """Run what is missing and print the table."""
    settings = {"jobs": "2", "seeds": "1,2,3", "methods": ",".join(METHODS), "drives": ",".join(DRIVES), "steps": "250"}
    settings |= {"evaluated": "", "text": ""}
    overrides = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in (*settings, "data", "output"):
            settings[key] = value
        else:
            overrides.append(argument)
    output = Path(settings["output"]).resolve()
    seeds = [int(seed) for seed in settings["seeds"].split(",")]
    methods, drives = settings["methods"].split(","), settings["drives"].split(",")
    fixed = [*BUDGET, f"paths.data={Path(settings['data']).resolve()}", f"trainer.max_steps={settings['steps']}"]
    fixed += [f"trainer.val_check_interval={settings['steps']}", *overrides]

    def job(task: tuple[int, str, str]) -> None:
        seed, drive, name = task
        method, variant = (VARIANTS | WITH_TEXT).get(name, (name, []))
        if name in WITH_TEXT:
            variant = [*variant, f"text.path={Path(settings['text']).resolve()}"]
        folder = output / name / drive / str(seed)
        chosen = [f"method={method}", f"target='{drive}'", f"seed={seed}", *EXTRA.get(method, []), *variant]
        run_one("train", folder, [*fixed, *chosen])
        if evaluated := settings["evaluated"]:
            run_one("evaluate", folder / evaluated, [f"checkpoint={folder}", *EVALUATED[evaluated]])

    with ThreadPoolExecutor(int(settings["jobs"])) as pool:  # seed by seed, so that an unfinished study has whole seeds
        list(pool.map(job, product(seeds, drives, methods)))
    print(table(output, methods, drives, seeds, settings["evaluated"]))


def run_one(command: str, folder: Path, overrides: list[str]) -> None:
    """Train, or evaluate, one run unless it has been."""
    if (folder / "results.json").is_file():
        return
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", f"pin_memory.{command}", *overrides, f"hydra.run.dir={folder}"]
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        code = subprocess.run(line, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    print(f"{folder}: {'done' if code == 0 else f'failed with exit code {code}'}", file=sys.stderr, flush=True)


def scores(folder: Path, method: str, drive: str, seeds: list[int], evaluated: str) -> dict[int, tuple[float, float]]:
    """Target mIoU in percent, and the mean over the sources' validation splits, of the runs that are there, by seed."""
    paths = {seed: folder / method / drive / str(seed) / evaluated / "results.json" for seed in seeds}
    found = {seed: json.loads(path.read_text()) for seed, path in paths.items() if path.is_file()}
    return {seed: (100 * one["mean_miou"], 100 * mean(one["source_validation"].values())) for seed, one in found.items()}


def table(folder: Path, methods: list[str], drives: list[str], seeds: list[int], evaluated: str) -> str:
    """A row per method: each drive, the mean over the drives, and its gain over erm, all as mean ± standard deviation over seeds."""
    lines = [f"| method | {' | '.join(drives)} | mean | gain over erm | sources (validation) |", f"|---|{'---|' * (len(drives) + 3)}"]
    found = {method: {drive: scores(folder, method, drive, seeds, evaluated) for drive in drives} for method in methods}

    def means(method: str, place: int = 0) -> dict[int, float]:
        complete = [seed for seed in seeds if all(seed in found[method][drive] for drive in drives)]
        return {seed: mean(found[method][drive][seed][place] for drive in drives) for seed in complete}

    for method in methods:
        overall, base = means(method), means("erm") if "erm" in found else {}
        gain = {seed: overall[seed] - base[seed] for seed in overall if seed in base}
        cells = [spread({seed: target for seed, (target, _) in found[method][drive].items()}) for drive in drives]
        cells += [spread(overall), spread(gain, "+"), spread(means(method, place=1))]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: dict[int, float], sign: str = "") -> str:
    """Mean ± standard deviation, with the number of runs when it is one."""
    numbers = list(values.values())
    if not numbers:
        return "-"
    return f"{mean(numbers):{sign}.1f}" + (f" ± {stdev(numbers):.1f}" if len(numbers) > 1 else " (1 run)")


if __name__ == "__main__":
    main(sys.argv[1:])
