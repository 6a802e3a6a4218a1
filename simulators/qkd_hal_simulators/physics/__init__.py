"""Light source, fibre, detector and Eve: one module each, vectorised, seeded.

Nothing here does I/O. Physical random numbers come from a numpy generator that is seeded by
256 bits of an entropy source: fit for a simulation, not for a transmitter.
"""
