"""The attacks of loadtest/attacks.py. tests/peer has to be in the search path."""

from . import memory, work, http  # noqa: F401 - in the order of the table
from .attacker import ATTACKS, KIB, MIB, Attacker  # noqa: F401
