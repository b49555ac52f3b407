"""Where things are printed: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from biowm.core.errors import Abstention

_ABSTAINED = 3
_QUIET = 15.0  # seconds between lines of progress where there is no terminal
_WIDE = 140  # columns where there is no terminal


def console(*, stderr: bool = False) -> Console:
    """A rich console; tables are not squeezed where nobody watches."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDE, soft_wrap=False)


def show(*items: object) -> None:
    """Print results for a reader."""
    console().print(*items, sep="\n")


def note(text: str) -> None:
    """Say something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def emit(data: dict[str, Any]) -> None:
    """Print one JSON object, the only thing on stdout."""
    print(json.dumps(finite(data), indent=1, allow_nan=False))


def refuse(found: Abstention, *, json: bool) -> NoReturn:
    """Say why there is no answer, and end with exit code 3: a result, not an error."""
    if json:
        emit({"abstained": list(found.reasons)})
    else:
        show(str(found))
    raise typer.Exit(_ABSTAINED)


def finite(value: Any) -> Any:
    """Plain data without what JSON does not know: NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress(title: str, *, resumes: bool = False) -> Iterator[Callable[[str, float | None], None]]:
    """A bar with the time left on stderr, or a plain line now and then where that is no terminal.

    Yields a function of what is being done and the share that is done (None: not known). `resumes` says that a
    run that is interrupted goes on where it was.
    """
    try:
        with _bar(title) if sys.stderr.isatty() else _lines(title) as tell:
            yield tell
    except KeyboardInterrupt:
        note("interrupted" + ("; the same command goes on from here" if resumes else ""))
        raise


@contextmanager
def _bar(title: str) -> Iterator[Callable[[str, float | None], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    # Steps may take minutes: the time left is told by all of them, not by those of the last half minute.
    with Progress(*columns, console=console(stderr=True), transient=True, speed_estimate_period=86400) as bar:
        task = bar.add_task(title, total=None)
        yield lambda text, share: bar.update(
            task, description=text, completed=share or 0.0, total=None if share is None else 1.0
        )


@contextmanager
def _lines(title: str) -> Iterator[Callable[[str, float | None], None]]:
    last = time.monotonic()

    def tell(text: str, share: float | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _QUIET:
            last = time.monotonic()
            note(f"{title}: {'' if share is None else f'{share:.0%}, '}{text}")

    yield tell
