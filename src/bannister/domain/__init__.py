"""The concepts of Bannister as immutable values and pure functions: no I/O, no clock, no randomness, no async."""
