"""From raw detections to secret bits: one module per stage, and the engine that joins them.

Start at :mod:`qkd_hal.distillation.session`. Nothing here opens a socket, reads a clock or
starts a thread; ``docs/distillation.md`` has the flow, the formulae and the known limits.
"""
