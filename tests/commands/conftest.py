"""What tests of several commands share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def evaluated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluated run with two checkpoints of a network of chance, which `trust=[tests]` loads; its data lie in `data`."""
    import torch
    from hydra import compose, initialize_config_dir

    from pin_memory.evaluation.evaluate import evaluate
    from pin_memory.runs import build, checkpoints
    from pin_memory.runs.results import Results
    from pin_memory.utils.config import config_directory
    from tests.helpers.untrained_run import TRUST, write_untrained

    run = write_untrained(tmp_path_factory.mktemp("runs") / "demo" / "time")
    best, last = (run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    content = torch.load(best, weights_only=True)
    state = {name: -value if name.endswith("weight") else value for name, value in content["state_dict"].items()}
    torch.save(content | {"state_dict": state}, last)
    build.build_data(checkpoints.load_method(best, ["tests"]).checkpoint.cfg).prepare_data()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        given = [f"checkpoint={best}", f"paths.data={run / 'data'}", f"paths.run={run}", "accelerator=cpu", TRUST]
        (results,) = evaluate(compose("evaluate", overrides=given))
    content = {key: value for key, value in results.to_json().items() if key not in ("label", "experiment")}  # as a training leaves them
    Results.model_validate(content | {"checkpoint": "checkpoints/best.ckpt"}).write(run / "results.json")
    return run
