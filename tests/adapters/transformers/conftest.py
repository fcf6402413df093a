"""Skip the tests without Transformers, and run them without the network."""

from __future__ import annotations

import importlib.util
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

if importlib.util.find_spec("transformers") is None:
    collect_ignore_glob = ["test_*.py"]
