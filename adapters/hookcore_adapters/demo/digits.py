"""The digits and the plugins of the demo, the same for each framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore_plugins import EarlyStopping, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Sequence

LEARNING_RATE: Final = 0.01
BATCH_SIZE: Final = 64
EPOCHS: Final = 60
DESCRIBED: Final = "the digits (1,797 images of 8 x 8 pixels, from scikit-learn)"


@attrs.frozen
class Digits:
    """Handwritten digits, as NumPy arrays: `images` of 8 x 8 pixels from 0 to 1, and the `labels` 0 to 9."""

    images: Any
    labels: Any


def load() -> tuple[Digits, Digits]:
    """Return the digits for training, four fifths of scikit-learn's 1,797, and those for validation."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, split = (digits.images / 16.0).astype("float32"), len(digits.images) * 4 // 5
    return Digits(images[:split], digits.target[:split]), Digits(images[split:], digits.target[split:])


def plugins(monitor: str = "val_loss") -> Sequence[object]:
    """Return the plugins that set the learning rate and end the training."""
    return [
        EarlyStopping(monitor, patience=4),
        ReduceLROnPlateau(monitor, factor=0.3, patience=2, min_delta=0.0),
    ]
