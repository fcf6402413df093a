"""Read recorded runs: a path goes in, runs come out, whatever wrote the logs.

    for run in read_runs(["runs", "other/metrics.csv"]):
        print(run.name, run.history["val_loss"])

What a file is, its content tells, never its name: `CSVLog`, Keras's CSVLogger and Lightning's, `JSONLog`, `Report`'s run.json,
Keras's History as JSON, XGBoost's and LightGBM's evals_result as JSON, Transformers' trainer_state.json, TensorBoard's
directories, and MLflow's store in SQLite. Each becomes a `RecordedRun`, or a `RecordedError` that names the file and the line.

This is a part of the room `report`, because that is where a run's record lives: what reads run.json is the report's own, and
`RunReport`, `hookcore compare` and, from above, `hookcore_adapters.replay` stand on it. As a package beside `report` it could
not read run.json, as plugins know nothing of each other.
"""

from __future__ import annotations

from hookcore_plugins.report.recorded.given import run_of
from hookcore_plugins.report.recorded.run import Observation, RecordedError, RecordedRun
from hookcore_plugins.report.recorded.search import read_run, read_runs

__all__ = ["Observation", "RecordedError", "RecordedRun", "read_run", "read_runs", "run_of"]
