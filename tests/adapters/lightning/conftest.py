"""The settings for Lightning: one thread, and its warnings."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path

import pytest

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

if importlib.util.find_spec("lightning") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch

    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore Lightning's warnings of few workers, few batches, a missing logger and an existing directory."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::UserWarning:lightning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning:lightning"))
