"""What a TFLite runtime takes, asked of the runtime itself.

- ``probe``: asks; stands alone, so that it can be sent to a board.
- ``cases``: makes what it asks about: the operators that conversions of small models lead to, in their combinations of
  tensor types.
"""

from pathlib import Path

PROBE = Path(__file__).with_name("probe.py")
"""What is sent to a board."""
