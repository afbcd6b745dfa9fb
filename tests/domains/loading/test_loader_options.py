"""What keeps the accelerator fed: loading processes that do not compete, and memory that is copied without waiting."""

import cv2
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pin_memory.domains.loading.loader import loader_options


class Threads(Dataset[torch.Tensor]):
    """Says how many threads the libraries have where it is read."""

    def __len__(self) -> int:
        """One sample."""
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        """Threads of PyTorch and of OpenCV."""
        return torch.tensor([torch.get_num_threads(), cv2.getNumThreads()])


def test_a_loading_process_has_one_thread() -> None:
    """However many the training process has."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(2)
        cv2.setNumThreads(2)
        (threads,) = DataLoader(Threads(), **loader_options(1))
        assert threads.tolist() == [[1, 1]]
        assert Threads()[0].tolist() == [2, 2]
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@pytest.mark.parametrize("gpu", [True, False])
def test_memory_is_pinned_where_there_is_a_gpu(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert loader_options(1)["pin_memory"] is gpu
