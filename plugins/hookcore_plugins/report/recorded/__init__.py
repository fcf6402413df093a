"""Read recorded runs from a path, whatever wrote the logs.

    for run in read_runs(["runs", "other/metrics.csv"]):
        print(run.name, run.history["val_loss"])

The kind of a file is found by its content, never by its name: `CSVLog`, Keras's CSVLogger and Lightning's, `JSONLog`, `Report`'s
run.json, Keras's History as JSON, XGBoost's and LightGBM's evals_result as JSON, Transformers' trainer_state.json, TensorBoard's
directories, and MLflow's store in SQLite. Each becomes a `RecordedRun`, or a `RecordedError` that names the file and the line.

This package is within `report`, which defines run.json and its reader. `RunReport`, `hookcore compare` and
`hookcore_adapters.replay` use it. Beside `report` it could not read run.json, as plugins do not import each other.
"""

from __future__ import annotations

from hookcore_plugins.report.recorded.given import run_of
from hookcore_plugins.report.recorded.run import Observation, RecordedError, RecordedRun
from hookcore_plugins.report.recorded.search import read_run, read_runs

__all__ = ["Observation", "RecordedError", "RecordedRun", "read_run", "read_runs", "run_of"]
