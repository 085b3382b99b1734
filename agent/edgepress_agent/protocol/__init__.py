"""What host and board say to each other. Standard library only: the host imports this package, nothing else of
the agent's.

- ``messages``: the values that travel, as frozen dataclasses, and ``PROTOCOL_VERSION`` with its history.
- ``frames``: how bytes become a JSON header with an optional blob.
- ``codec``: strict conversion between dataclasses and JSON values.
- ``tensors``: how arrays are laid out in a blob and what quantize and dequantize mean (imports numpy when called).
"""
