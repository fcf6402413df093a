"""Fill events with everything but scalars, in the form of TensorBoard's own summaries."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.histogram import metadata as histograms
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image import metadata as image_tags
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore.authoring import Node
    from hookcore_plugins.tensorboard.event_writer import Fill

BUCKETS: Final = 30  # as many as TensorBoard's own summaries have
SIDE: Final = 512
"""The most pixels that an image of a matrix has on a side."""
_LARGEST: Final = 1e300  # the range of larger values could overflow


def finite(values: Any) -> tuple[Any, int]:
    """Return the finite values as 64-bit floats in one row, and how many other values there were."""
    row = np.asarray(values).astype(np.float64).ravel()
    usable = np.abs(row) <= _LARGEST
    return (row, 0) if usable.all() else (row[usable], int(row.size - usable.sum()))


def scalar(tag: str, number: float) -> Fill:
    """Show a number as TensorFlow's summaries do, as a tensor of 32 bits: scripts that read event files expect that."""
    return lambda event: event.summary.MergeFrom(scalar_pb(tag, number))


def histogram(tag: str, row: Any) -> Fill:
    """Count the finite values of `row` in 30 buckets. TensorBoard's `histogram_pb` does the same with much more memory."""
    buckets = np.zeros((BUCKETS, 3))
    if row.size:
        low, high = row.min(), row.max()
        width = (high - low) / BUCKETS
        buckets[:, :2] = low
        if width > 0:
            edges = np.linspace(low, high, BUCKETS + 1)
            buckets[:, 0], buckets[:, 1] = edges[:-1], edges[1:]
            places = np.minimum(((row - low) / width).astype(np.int64), BUCKETS - 1)
            buckets[:, 2] = np.bincount(places, minlength=BUCKETS)
        else:
            buckets[-1, :] = low, high, row.size

    def fill(event: Any) -> None:
        metadata = histograms.create_summary_metadata(display_name=None, description=None)
        event.summary.value.add(tag=tag, metadata=metadata, tensor=make_tensor_proto(buckets, dtype=np.float64))

    return fill


def image(tag: str, matrix: Any) -> Fill:
    """Show a matrix as a grey image, from its least value, black, to its greatest, white; a value that is not finite is black.

    Of a large matrix every n-th row or column is shown.
    """
    shown = np.array(matrix[:: _stride(matrix.shape[0]), :: _stride(matrix.shape[1])], dtype=np.float64)
    usable = np.abs(shown) <= _LARGEST
    low = shown[usable].min() if usable.any() else 0.0
    shown[~usable] = low
    shown -= low
    grey = (shown / (shown.max() or 1.0) * 255).round().astype(np.uint8)

    def fill(event: Any) -> None:
        height, width = grey.shape
        picture = Summary.Image(height=height, width=width, colorspace=1, encoded_image_string=_png(grey))
        event.summary.value.add(tag=tag, image=picture)

    return fill


def images(tag: str, batch: Any, most: int = 3) -> Fill:
    """Show the first `most` of a batch of images, of the shape (images, height, width, channels), as TensorFlow does.

    Values from 0 to 1 are shades. Values outside are clipped to that range, and NaN is shown as 0.
    """
    shades = (np.clip(np.nan_to_num(np.asarray(batch[:most], np.float32)), 0, 1) * 255.5).astype(np.uint8)

    def fill(event: Any) -> None:
        _, height, width, channels = shades.shape
        pictures = [_png(picture[..., 0] if channels == 1 else picture) for picture in shades]
        sizes = [str(width).encode(), str(height).encode()]
        metadata = image_tags.create_summary_metadata(display_name=None, description=None)
        event.summary.value.add(tag=tag, metadata=metadata, tensor=make_tensor_proto(np.array([*sizes, *pictures], dtype=object)))

    return fill


def _png(pixels: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _stride(size: int) -> int:
    return -(-size // SIDE)


def text(tag: str, markdown: str) -> Fill:
    """Show a text in Markdown."""
    return lambda event: event.summary.MergeFrom(text_pb(tag, markdown))


def document(tag: str, content: str, plugin: str) -> Fill:
    """Give a text to TensorBoard's plugin named `plugin`."""

    def fill(event: Any) -> None:
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin, content=b"1"))
        event.summary.value.add(tag=tag, metadata=metadata, tensor=make_tensor_proto(content))

    return fill


def graph(nodes: Sequence[Node]) -> Fill:
    """Show a graph of layers."""

    def fill(event: Any) -> None:
        definition = GraphDef()
        definition.versions.producer = 22
        for node in nodes:
            added = definition.node.add(name=node.name, op=node.kind, input=node.inputs)
            if node.shape:
                sizes = [TensorShapeProto.Dim(size=-1 if size is None else size) for size in node.shape]
                added.attr["_output_shapes"].list.shape.add(dim=sizes)
            added.attr["parameters"].i = node.parameters
        event.graph_def = definition.SerializeToString()

    return fill


def session_start(parameters: Mapping[str, bool | float | str], started: float) -> Fill:
    """Show the hyperparameters with which a run begins, in a row that TensorBoard names for the run's directory."""

    def fill(event: Any) -> None:
        summary = hparams_pb(dict(parameters), trial_id="-", start_time_secs=started)
        plugin_data = summary.value[0].metadata.plugin_data
        data = plugin_data_pb2.HParamsPluginData.FromString(plugin_data.content)
        # Runs of one group share a row, with the mean of their metrics. Without a group, each run has a row under its name.
        data.session_start_info.ClearField("group_name")
        plugin_data.content = data.SerializeToString()
        event.summary.MergeFrom(summary)

    return fill


def session_end(status: str, ended: float) -> Fill:
    """Show how the run ended: `SUCCESS`, `FAILURE` or `UNKNOWN`."""

    def fill(event: Any) -> None:
        info = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.Value(f"STATUS_{status}"), end_time_secs=ended)
        metadata = hparams.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info))
        event.summary.value.add(tag=hparams.SESSION_END_INFO_TAG, metadata=metadata, tensor=hparams.NULL_TENSOR)

    return fill
