"""What a stored model makes of samples before it decides: the inputs of its last layer."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from real.models import ModelError, hidden_features, restored_model, torch_device
from real.store import StoredModel

_ROWS_AT_ONCE = 65_536


def embed(stored: StoredModel, rows: pl.DataFrame, device: str) -> NDArray[np.float64]:
    """The inputs of a model's last layer for each row, shape (rows, features).

    For logistic regression that is the encoded row; a model of the user's own says what it is with its method
    `embed`. `rows` have the columns that the model was trained on; `device` is a worker's, such as `cuda:0`.
    ConfigError if the user's class has no `embed`, ModelError if that gives something else.
    """
    on = torch_device(device)
    model = restored_model(stored).to(on).eval()
    at_once = stored.encoding.rows_at_once(_ROWS_AT_ONCE)
    parts = []
    with torch.inference_mode():
        for first in range(0, max(1, rows.height), at_once):
            features = stored.encoding.features(rows.slice(first, at_once))
            inputs = torch.from_numpy(features).to(on)
            parts.append(hidden_features(model, stored.config, inputs).cpu().double().numpy())
    embedded: NDArray[np.float64] = np.concatenate(parts)
    if not np.isfinite(embedded).all():
        raise ModelError(f"the embeddings of model {type(model).__name__} are not finite")
    return embedded
