"""Read what the trainee shows of itself."""

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
    """Return the trainee with the views that the plugin's `needs` asked it for."""
    return cast("Views", run.trainee)


def graph(run: Run) -> Sequence[Node] | None:
    """Return the graph of layers, or None if the trainee cannot show it; the log tells of an error in that."""
    if reason_lacking(run.trainee, "graph") is not None:
        return None
    try:
        return views(run).graph()
    except Exception as error:  # noqa: BLE001 - a graph is the default: without it the rest is still written
        logger.warning("%s: there is no graph: %s", run.plugin, describe(error))
        return None
