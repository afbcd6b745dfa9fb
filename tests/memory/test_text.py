"""Files with text embeddings: what is read, what is refused, and the geometry of the embeddings of the 19 classes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pin_memory.memory import TextPrototypes
from pin_memory.memory.geometry import centre
from pin_memory.utils.errors import ConfigurationError

NAMES = ["road", "sky", "car"]


@pytest.fixture
def rows() -> Tensor:
    """Three unit rows of five numbers."""
    drawn = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (drawn / drawn.norm(dim=1, keepdim=True)).float()


def write(path: Path, rows: Tensor, names: list[str] | None = None) -> Path:
    """A file of the kind that its suffix says."""
    if path.suffix == ".npy":
        np.save(path, rows.numpy())
    elif path.suffix == ".safetensors":
        save_file({"text": rows.contiguous()}, path, {"classes": json.dumps(names)} if names else None)
    else:
        torch.save(rows if path.suffix == ".pth" else {"text": rows}, path)
    return path


def read(path: Path, number: int = 3, dim: int = 5, centred: bool = False) -> Tensor:
    """The rows of a file."""
    return TextPrototypes(str(path), number, dim, centred).rows


@pytest.mark.parametrize("name", ["a.npy", "a.safetensors", "a.pt", "a.pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_kind_of_file_gives_the_same_unit_rows(tmp_path: Path, rows: Tensor, name: str, dtype: torch.dtype) -> None:
    found = read(write(tmp_path / name, rows.T.contiguous().T.to(dtype)))  # as a transposed file lies in memory
    assert found.dtype == torch.float32
    assert found.shape == (3, 5)
    assert torch.allclose(found, rows, atol=1e-3 if dtype == torch.float16 else 1e-6)
    assert torch.allclose(found.double().norm(dim=1), torch.ones(3, dtype=torch.float64), atol=1e-6)


def test_a_file_is_read_on_the_meta_device_too(tmp_path: Path, rows: Tensor) -> None:
    for name in ("a.npy", "a.safetensors", "a.pth"):
        path = str(write(tmp_path / name, rows))
        with torch.device("meta"):
            for kind in ("file", "shuffled", "random", "checkpoint"):
                found = TextPrototypes(path, num_classes=3, dim=5, rows=kind)
                assert found.rows.device.type == "cpu"


def test_centred_rows_are_unit_and_of_mean_zero_before(rows: Tensor, tmp_path: Path) -> None:
    found = read(write(tmp_path / "a.npy", rows), centred=True).double()
    mean = sum(rows.double()) / 3
    for one, other in zip(found, rows.double(), strict=True):
        expected = other - mean
        assert torch.allclose(one, expected / (expected @ expected).sqrt(), atol=1e-6)


def test_names_in_the_file_are_compared_with_the_labels(tmp_path: Path, rows: Tensor) -> None:
    path = write(tmp_path / "a.safetensors", rows, NAMES)
    text = TextPrototypes(str(path), num_classes=3, dim=5)
    text.check_classes(NAMES)
    with pytest.raises(ConfigurationError, match="Class 1 is 'sky' in the file and 'car' in the labels"):
        text.check_classes(["road", "car", "sky"])
    with pytest.raises(ConfigurationError, match="in another order"):
        text.check_classes(["car", "road", "sky"])
    TextPrototypes(str(write(tmp_path / "a.npy", rows)), num_classes=3, dim=5).check_classes(["a", "b", "c"])  # a file without names


def refused(path: Path, classes: int = 3) -> str:
    """The message of a refusal, which names the file."""
    with pytest.raises(ConfigurationError) as caught:
        read(path, classes)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_file_names_the_two_ways_out(tmp_path: Path) -> None:
    message = refused(tmp_path / "missing.npy")
    assert "pin_memory.text" in message
    assert "google-research/semivl" in message
    assert "cityscapes_single.npy" in message


def test_what_is_no_embedding_of_these_classes_is_refused(tmp_path: Path, rows: Tensor) -> None:
    assert "each of the 4 classes" in refused(write(tmp_path / "classes.npy", rows), 4)
    assert "(5,)" in refused(write(tmp_path / "flat.npy", rows[0]), 5)
    assert "found 2 in row 1 (1 of 3)" in refused(write(tmp_path / "long.npy", rows * torch.tensor([[1.0], [2.0], [1.0]])))
    for value in (float("nan"), float("inf")):
        odd = rows.clone()
        odd[2, 1] = value
        assert "in row 2" in refused(write(tmp_path / "odd.pt", odd))
    torch.save({"a": rows, "b": rows}, tmp_path / "two.pt")
    assert "expected one tensor" in refused(tmp_path / "two.pt")
    assert "expected one tensor" in refused(write(tmp_path / "ids.pt", torch.ones(3, 5, dtype=torch.long)))
    assert "expected a .npy" in refused(write(tmp_path / "a.pt", rows).rename(tmp_path / "a.bin"))


def test_damaged_files_and_files_with_code_are_refused(tmp_path: Path, rows: Tensor) -> None:
    np.save(tmp_path / "object.npy", np.array([print], dtype=object), allow_pickle=True)
    assert "allow_pickle" in refused(tmp_path / "object.npy")
    for name in ("a.npy", "a.safetensors", "a.pt"):
        path = write(tmp_path / name, rows)
        path.write_bytes(path.read_bytes()[:-30])
        assert "readable" in refused(path)
    (tmp_path / "code.pth").write_bytes(pickle.dumps(print, protocol=2))
    assert "is refused" in refused(tmp_path / "code.pth")
    save_file({"text": rows}, tmp_path / "names.safetensors", {"classes": "{}"})
    assert "no list of names" in refused(tmp_path / "names.safetensors")


def test_rows_that_take_the_place_of_text(tmp_path: Path, rows: Tensor) -> None:
    path = str(write(tmp_path / "a.npy", rows))
    plain, shuffled, random = (TextPrototypes(path, 3, 5, centred=False, rows=kind, seed=7).rows for kind in ("file", "shuffled", "random"))
    assert sorted(shuffled.tolist()) == sorted(plain.tolist())
    assert not any(torch.equal(one, other) for one, other in zip(plain, shuffled, strict=True))
    assert torch.allclose(random @ random.T, torch.eye(3), atol=1e-6)
    assert torch.equal(random, TextPrototypes(None, 3, 5, centred=False, rows="random", seed=7).rows)
    assert not torch.equal(random, TextPrototypes(None, 3, 5, centred=False, rows="random", seed=8).rows)
    assert not TextPrototypes("missing.npy", 3, 5, rows="checkpoint").rows.any()


def test_settings_that_fit_no_file(tmp_path: Path, rows: Tensor) -> None:
    path = str(write(tmp_path / "a.npy", rows))
    with pytest.raises(ConfigurationError, match=r"Set text.dim=5"):
        TextPrototypes(path, 3)
    with pytest.raises(ConfigurationError, match=r"text.path is missing"):
        TextPrototypes(num_classes=3)
    with pytest.raises(ConfigurationError, match="orthogonal rows"):
        TextPrototypes(num_classes=6, dim=5, rows="random")


@pytest.fixture(scope="module")
def streets(shared: Path) -> Path:
    """The embeddings of the 19 Cityscapes classes by CLIP ViT-B/16."""
    path = shared / "text" / "cityscapes_vitb16_single.npy"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


def between(rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Cosines `(K, K)` with NaN on the diagonal, and those of the different pairs."""
    cosines = rows.double().numpy() @ rows.double().numpy().T
    np.fill_diagonal(cosines, np.nan)
    return cosines, cosines[~np.isnan(cosines)]


def test_geometry_of_the_19_classes(streets: Path) -> None:
    cosines, pairs = between(read(streets, 19, 512))
    assert [round(float(value), 3) for value in (pairs.mean(), pairs.min(), pairs.max())] == [0.808, 0.696, 0.935]
    assert np.nanargmax(cosines, axis=1).tolist() == [13, 0, 13, 2, 3, 4, 7, 6, 9, 8, 2, 12, 17, 14, 13, 16, 15, 18, 17]
    assert round(float(cosines[13, 14]), 3) == 0.924
    assert round(float(cosines[17, 18]), 3) == 0.935


def test_geometry_of_the_19_classes_minus_their_mean(streets: Path) -> None:
    rows = read(streets, 19, 512, centred=True)
    _, pairs = between(rows)
    assert [round(float(value), 3) for value in (pairs.mean(), pairs.min(), pairs.max())] == [-0.054, -0.314, 0.576]
    assert np.linalg.matrix_rank(rows.numpy(), tol=1e-4) == 18
    assert torch.equal(rows, centre(read(streets, 19, 512)))
