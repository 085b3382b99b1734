"""Generated tasks that separate methods, and networks for them."""

from tasks.strokes import load_task

__all__ = ["load_task"]
