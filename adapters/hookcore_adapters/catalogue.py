"""The adapters of this distribution, for the entry points of the group `hookcore.adapters`. Imports no framework."""

from __future__ import annotations

from typing import Final

from hookcore.adapter_info import AdapterInfo

KERAS: Final = AdapterInfo("Keras", "hookcore_adapters.keras: fit, KerasAdapter", "hookcore[keras,tensorflow]", ("keras",))
LOOP: Final = AdapterInfo("a loop of your own", "hookcore_adapters.loop: Loop", "hookcore")
TORCH: Final = AdapterInfo("PyTorch", "hookcore_adapters.torch: TorchTrainee, in Loop", "hookcore[torch]", ("torch",))
LIGHTNING: Final = AdapterInfo(
    "Lightning", "hookcore_adapters.lightning: LightningAdapter", "hookcore[lightning]", ("lightning",)
)
TRANSFORMERS: Final = AdapterInfo(
    "Transformers", "hookcore_adapters.transformers: TransformersAdapter", "hookcore[transformers]", ("transformers",)
)
XGBOOST: Final = AdapterInfo(
    "XGBoost", "hookcore_adapters.xgboost: XGBoostAdapter", "hookcore[xgboost]", ("xgboost", "xgboost-cpu")
)
LIGHTGBM: Final = AdapterInfo(
    "LightGBM", "hookcore_adapters.lightgbm: train, LightGBMAdapter", "hookcore[lightgbm]", ("lightgbm",)
)
SKLEARN: Final = AdapterInfo(
    "scikit-learn", "hookcore_adapters.sklearn: fit, SklearnAdapter", "hookcore[sklearn]", ("scikit-learn",)
)
JAX: Final = AdapterInfo("JAX", "hookcore_adapters.jax: JaxTrainee, in Loop", "hookcore[jax]", ("jax",))
