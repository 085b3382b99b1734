"""Arrays in blobs and files, and what quantize and dequantize mean on both sides.

A file of arrays (``.npys``) is one ``.npy`` after another, in model order: numpy writes and reads that by itself, the
bytes depend on nothing but the arrays (a zip archive holds times), so that a content hash of them is meaningful.
numpy is imported inside the functions: the agent answers before it has numpy.
"""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, Optional, Sequence, Tuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]


_NPY_MAGIC = b"\x93NUMPY"


def write_arrays(stream: BinaryIO, arrays: Sequence[Array]) -> None:
    """Write arrays one after another in .npy format (C order, no pickle)."""
    import numpy as np

    # Not the stream itself: numpy would write to its descriptor, and a full disk would be an OSError without errno.
    writer = SimpleNamespace(write=stream.write)
    for array in arrays:
        np.save(writer, np.asarray(array, order="C"), allow_pickle=False)  # ascontiguousarray: no scalars


def read_arrays(stream: BinaryIO) -> Tuple[Array, ...]:
    """Read all arrays of a stream that can seek.

    Raises:
        ValueError: the bytes are not .npy arrays, or hold objects.
    """
    import numpy as np

    start = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    stream.seek(start)
    arrays = []
    while stream.tell() < end:
        try:
            if stream.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
                raise ValueError("no array begins where one should")
            stream.seek(-len(_NPY_MAGIC), io.SEEK_CUR)
            arrays.append(np.load(stream, allow_pickle=False))
        except (EOFError, OSError, ValueError) as error:
            raise ValueError(f"not a file of .npy arrays: {error}") from None
    return tuple(arrays)


def encode_arrays(arrays: Sequence[Array]) -> bytes:
    """Return the bytes of a file of arrays."""
    stream = io.BytesIO()
    write_arrays(stream, arrays)
    return stream.getvalue()


def decode_arrays(data: bytes) -> Tuple[Array, ...]:
    """Read arrays from bytes; see :func:`read_arrays`."""
    return read_arrays(io.BytesIO(data))


def quantize(array: Array, dtype: Any, scale: Optional[float], zero_point: Optional[int]) -> Array:
    """Turn real values into what an input tensor of a model takes.

    ``round(x / scale) + zero_point`` (half to even), saturated to the range of ``dtype``. Without a scale the values
    are cast when ``dtype`` is floating, and rounded and saturated when it is an integer (token ids, raw bytes).
    """
    import numpy as np

    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return array.astype(dtype)
    if dtype.kind == "b":
        return array.astype(bool)
    values = np.asarray(array, np.float64)
    if scale:
        values = np.round(values / scale) + (zero_point or 0)
    limits = np.iinfo(dtype)
    return np.clip(np.round(values), limits.min, limits.max).astype(dtype)


def dequantize(array: Array, scale: Optional[float], zero_point: Optional[int]) -> NDArray[np.float32]:
    """Turn an output tensor into real values, float32: ``(q - zero_point) * scale``; a cast without a scale."""
    import numpy as np

    if not scale or array.dtype.kind == "f":
        return array.astype(np.float32)
    return ((array.astype(np.float64) - (zero_point or 0)) * scale).astype(np.float32)
