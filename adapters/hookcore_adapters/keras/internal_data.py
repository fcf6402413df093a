"""The private parts of Keras's data, and of TensorFlow's datasets, that this package uses: see `internals`."""

from __future__ import annotations

from typing import Final

from hookcore_adapters.keras.private_part import PrivatePart

_KERAS: Final = "keras.src.trainers"
_ITERATOR: Final = f"{_KERAS}.epoch_iterator.EpochIterator"
_ARRAYS: Final = f"{_KERAS}.data_adapters.array_data_adapter.ArrayDataAdapter"
_DATASET: Final = f"{_KERAS}.data_adapters.py_dataset_adapter.PyDatasetAdapter"
_TF: Final = "tensorflow.python"

# How `fit` reads data: an epoch iterator over a data adapter.

EPOCH_ITERATOR: Final = PrivatePart(_ITERATOR, "the data that fit is reading")
EXECUTIONS: Final = PrivatePart(f"{_ITERATOR}._enumerate_iterator", "the executions of an epoch")
ADAPTER: Final = PrivatePart(f"{_KERAS}.data_adapters.data_adapter.DataAdapter", "whether data are in Keras's own form")
ARRAYS: Final = PrivatePart(_ARRAYS, "whether data are arrays")
SLICES: Final = PrivatePart(f"{_ARRAYS}._get_iterator", "the batches of arrays")
PY_DATASET: Final = PrivatePart(_DATASET, "whether data are a PyDataset")
BATCHES: Final = PrivatePart(f"{_DATASET}._finite_generator", "the batches of a PyDataset")
ENDLESS_BATCHES: Final = PrivatePart(f"{_DATASET}._infinite_generator", "the batches of a PyDataset without an end")
ENQUEUED_BATCHES: Final = PrivatePart(f"{_DATASET}._finite_enqueuer_generator", "the batches of a PyDataset with workers")
STANDARDIZE: Final = PrivatePart(f"{_DATASET}._standardize_batch", "the form of a batch of a PyDataset")
IS_TF_DATASET: Final = PrivatePart(f"{_KERAS}.data_adapters.is_tf_dataset", "whether data are of tf.data")
LOADER: Final = PrivatePart(
    f"{_KERAS}.data_adapters.torch_data_loader_adapter.TorchDataLoaderAdapter._dataloader", "the DataLoader that fit reads"
)
IS_DATA_LOADER: Final = PrivatePart(f"{_KERAS}.data_adapters.is_torch_dataloader", "whether data are a DataLoader")

# Keras's epoch iterator on TensorFlow, and TensorFlow's datasets.

READ: Final = PrivatePart(
    "keras.src.backend.tensorflow.trainer.TFEpochIterator._distributed_dataset", "the dataset that fit reads"
)
STRATEGY: Final = PrivatePart(
    "keras.src.backend.tensorflow.trainer.TFEpochIterator._distribute_strategy", "how it is distributed"
)
ORIGINAL: Final = PrivatePart(
    f"{_TF}.distribute.input_lib.DistributedDataset._original_dataset", "the dataset that is split between replicas"
)
INPUTS: Final = PrivatePart("tensorflow.data.Dataset._inputs", "the datasets that a dataset reads")
FUNCTIONS: Final = PrivatePart("tensorflow.data.Dataset._functions", "the functions of a dataset")
INPUT: Final = PrivatePart(f"{_TF}.data.ops.map_op._ParallelMapDataset._input_dataset", "the dataset that a map reads")
MAPPED_BY: Final = PrivatePart(f"{_TF}.data.ops.map_op._ParallelMapDataset._map_func", "the function of a map")
FUNCTION: Final = PrivatePart(f"{_TF}.data.ops.structured_function.StructuredFunctionWrapper._func", "the function of a map")
ORDERED: Final = PrivatePart(f"{_TF}.data.ops.map_op._ParallelMapDataset._deterministic", "whether a map keeps the order")
SEED: Final = PrivatePart(f"{_TF}.data.ops.shuffle_op._ShuffleDataset._seed", "whether a shuffle has a seed")
SEED_2: Final = PrivatePart(f"{_TF}.data.ops.shuffle_op._ShuffleDataset._seed2", "whether a shuffle has a seed")
RESHUFFLES: Final = PrivatePart(
    f"{_TF}.data.ops.shuffle_op._ShuffleDataset._reshuffle_each_iteration", "whether each epoch has another order"
)
RERANDOMIZES: Final = PrivatePart(f"{_TF}.data.ops.random_op._RandomDataset._rerandomize", "whether each epoch has other numbers")
