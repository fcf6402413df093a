"""Parse `--plugin` and `--vary` into settings: every combination of the values, as plugins of an engine."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Final

import attrs

from hookcore import Engine, SpecError
from hookcore.authoring import printable
from hookcore.registry.place import Place
from hookcore.registry.request import requested

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.metadata import EntryPoint

MOST: Final = 10_000
"""The most settings in one grid."""
_RANGE: Final = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(\d+))?")
_PARTS: Final = re.compile(r"""(?:[^,"']|"[^"]*"|'[^']*')+""")
"""The parts of a spec string, between commas that are not quoted."""


@attrs.frozen
class Asked:
    """A `--plugin` with each `--vary` that follows it."""

    spec: str
    vary: tuple[str, ...] = ()


@attrs.frozen
class Setting:
    """One combination of values of the varied parameters."""

    plugins: tuple[tuple[str, str], ...]
    """The name and the spec string of each plugin."""
    varied: tuple[tuple[str, str], ...]
    """Each varied parameter with its value; with the plugin's name before it if several plugins vary a parameter of that name."""

    def engine(self, catalogue: Sequence[EntryPoint]) -> Engine:
        """Return an engine with new plugins from `catalogue`, which is `discovery.entry_points(CATALOGUE)`.

        Raises the errors of spec strings.
        """
        plugins = [(name, requested(spec, Place()).make(catalogue).plugin) for name, spec in self.plugins]
        return Engine(plugins, autoload=False)

    def __str__(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.varied) or "as given"


def settings_of(asked: Sequence[Asked]) -> list[Setting]:
    """Return every combination of the varied parameters; the last one changes fastest. Raises `SpecError` for invalid options."""
    keys = [key for one in asked for key, _ in _varied(one)]
    names: list[str] = []
    grids: list[list[_Choice]] = []
    for one in asked:
        names.append(_name(one))
        own = names[-1] if names.count(names[-1]) == 1 else f"{names[-1]}_{names.count(names[-1])}"
        grids.append(list(_choices(one, own, keys)))
        number = math.prod(map(len, grids))
        if number > MOST:
            raise SpecError(f"--vary asks for {number} settings, and at most {MOST} are tried. Vary less.")
    return [
        Setting(
            tuple((choice.name, choice.spec) for choice in chosen),
            tuple(pair for choice in chosen for pair in choice.varied),
        )
        for chosen in itertools.product(*grids)
    ]


@attrs.frozen
class _Choice:
    """One plugin with one value of each parameter."""

    name: str
    spec: str
    varied: tuple[tuple[str, str], ...]


def _choices(one: Asked, name: str, keys: Sequence[str]) -> Iterator[_Choice]:
    varied = _varied(one)
    if math.prod(len(values) for _, values in varied) > MOST:
        raise SpecError(f"--vary asks for more than {MOST} settings of {name}. Vary less.")
    for values in itertools.product(*(values for _, values in varied)):
        pairs = [(key, value) for (key, _), value in zip(varied, values, strict=True)]
        text = ",".join([*_fixed(one), *(f"{key}={value}" for key, value in pairs)])
        shown = tuple((key if keys.count(key) == 1 else f"{name}.{key}", value) for key, value in pairs)
        yield _Choice(name, f"{_name(one)}:{text}" if text else _name(one), shown)


def _name(one: Asked) -> str:
    return one.spec.partition(":")[0].strip()


def _fixed(one: Asked) -> list[str]:
    """Return the parameters in the spec string that are not ranges."""
    return [part.strip() for part in _PARTS.findall(one.spec.partition(":")[2]) if not _is_range(part)]


def _is_range(part: str) -> bool:
    return _RANGE.fullmatch(part.partition("=")[2].strip()) is not None


def _varied(one: Asked) -> list[tuple[str, list[str]]]:
    """Return each varied parameter with its values, from a range in the spec string or a `--vary`."""
    given = [part for part in _PARTS.findall(one.spec.partition(":")[2]) if _is_range(part)]
    found: list[tuple[str, list[str]]] = []
    fixed = {part.partition("=")[0].strip() for part in _fixed(one)}
    for text in (*given, *one.vary):
        key, equals, listed = (part.strip() for part in text.partition("="))
        if not equals or not key or not listed:
            raise SpecError(f"--vary {printable(text, 99)!r}: expected key=values, such as patience=1..10 or min_delta=0,1e-3.")
        if key in fixed or key in dict(found):
            raise SpecError(f"--vary {printable(text, 99)!r}: {key!r} is given twice for {_name(one)}.")
        values = list(dict.fromkeys(_values(text, listed)))
        found.append((key, values))
    return found


def _values(text: str, listed: str) -> Iterator[str]:
    for part in map(str.strip, listed.split(",")):
        span = _RANGE.fullmatch(part)
        if span is None:
            if ".." in part or not part:
                raise SpecError(
                    f"--vary {printable(text, 99)!r}: {part!r} is neither a value nor a range of whole numbers, such as 1..10, "
                    "or 0..100..10 for every tenth. List other numbers: 0.1,0.2,0.5."
                )
            yield part
            continue
        first, last, step = int(span[1]), int(span[2]), int(span[3] or 1)
        if last < first or step < 1 or (last - first) // step >= MOST:
            raise SpecError(
                f"--vary {printable(text, 99)!r}: the range {part!r} must go up, in steps of at least 1, by at most {MOST}."
            )
        yield from map(str, range(first, last + 1, step))


def paired(order: Iterable[str], plugins: Sequence[str], varies: Sequence[str]) -> list[Asked]:
    """Assign each `--vary` to the `--plugin` before it. `order` has the names of the options in the order of the command line."""
    found: list[Asked] = []
    given = {"plugins": iter(plugins), "vary": iter(varies)}
    for name in order:
        if name == "plugins":
            found.append(Asked(next(given[name])))
        elif name == "vary":
            text = next(given[name])
            if not found:
                raise SpecError(f"--vary {printable(text, 99)!r} comes before any --plugin; it varies the --plugin before it.")
            found[-1] = attrs.evolve(found[-1], vary=(*found[-1].vary, text))
    return found
