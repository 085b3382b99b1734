"""The equation of an EinsumDense layer, taken apart: which letters are summed over, and which are the outputs."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Equation:
    """``given,kernel->made``; the kernel's letters are ``summed`` ones and ``outputs``, each in the kernel's order."""

    given: str
    kernel: str
    made: str
    summed: str
    outputs: str

    @classmethod
    def of(cls, layer: Any) -> Equation | None:
        """Read a layer's equation; None where the kernel is no matrix: a letter is in it, in inputs and in outputs."""
        left, made = layer.equation.replace(" ", "").split("->")
        given, kernel = left.split(",")
        summed = "".join(letter for letter in kernel if letter in given and letter not in made)
        outputs = "".join(letter for letter in kernel if letter in made and letter not in given)
        if len(summed) + len(outputs) < len(kernel) or any(x not in made for x in given if x not in summed + "."):
            return None
        return cls(given, kernel, made, summed, outputs)

    def as_matrix(self, kernel: NDArray[Any]) -> NDArray[np.float64]:
        """Return the kernel as ``(summed, outputs)``."""
        order = [self.kernel.index(letter) for letter in self.summed + self.outputs]
        sizes = self.sizes(kernel)
        rows = int(np.prod([sizes[letter] for letter in self.summed], dtype=np.int64))
        return np.asarray(kernel, np.float64).transpose(order).reshape(rows, -1)

    def sizes(self, kernel: NDArray[Any]) -> dict[str, int]:
        """Size of each letter of the kernel."""
        return dict(zip(self.kernel, kernel.shape, strict=True))

    def halves(self) -> tuple[str, str, str]:
        """Return what lies between the halves, and their equations: inputs to ranks, ranks to outputs."""
        rank = next(letter for letter in string.ascii_letters if letter not in self.given + self.made)
        rest = "".join(letter for letter in self.given if letter not in self.summed)
        between = rest.replace("...", f"{rank}...") if rest.endswith("...") and rest != "..." else rest + rank
        return between, f"{self.given},{self.summed}{rank}->{between}", f"{between},{rank}{self.outputs}->{self.made}"


def outputs_as_rows(layer: Any, outputs: NDArray[Any]) -> NDArray[Any]:
    """Return a layer's outputs as ``(rows, outputs)``, in the order of its kernel."""
    equation = Equation.of(layer)
    assert equation is not None
    letters = equation.made.replace("...", "." * (outputs.ndim - len(equation.made.replace("...", ""))))
    axes = [letters.index(letter) for letter in equation.outputs]
    moved = np.moveaxis(outputs, axes, range(-len(axes), 0))
    return moved.reshape(-1, int(np.prod(moved.shape[-len(axes) :])))
