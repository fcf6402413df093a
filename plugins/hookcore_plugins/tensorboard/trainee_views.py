"""Read the trainee's views, such as its graph of layers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from hookcore.authoring import describe, reason_lacking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hookcore import Run
    from hookcore.authoring import Node, Views

logger = logging.getLogger("hookcore")


def views(run: Run) -> Views:
    """Return the trainee as one that has the views in the plugin's `needs`."""
    return cast("Views", run.trainee)


def graph(run: Run) -> Sequence[Node] | None:
    """Return the graph of layers, or None if the trainee cannot show it. An error in that is logged."""
    if reason_lacking(run.trainee, "graph") is not None:
        return None
    try:
        return views(run).graph()
    except Exception as error:  # noqa: BLE001 - a graph is the default: without it the rest is still written
        logger.warning("%s: the graph of layers is left out: %s", run.plugin, describe(error))
        return None
