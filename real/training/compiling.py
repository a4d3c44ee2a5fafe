"""What goes wrong when torch compiles a model, said in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from real.models import ModelError


@contextmanager
def compiled(is_compiled: bool) -> Iterator[None]:
    """ModelError if a model that is to be compiled (`training.compile`) can't be, which shows when it is first used."""
    if not is_compiled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"training.compile: torch can't compile the model ({reason}); expected false") from None
