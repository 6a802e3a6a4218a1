"""Health tests on the output of a random generator (NIST SP 800-90B, section 4.4). No I/O.

They notice a generator that broke, not one that was never any good.
"""

from __future__ import annotations

import math
import re

__all__ = ["HealthTests", "proportion_cutoff", "repetition_cutoff"]

_WINDOW = 512  # samples; what SP 800-90B sets for samples of more than one bit


def repetition_cutoff(min_entropy: float, false_alarm: float) -> int:
    """Return how many equal samples in a row fail a generator (SP 800-90B, 4.4.1).

    With *min_entropy* bits in a sample, none is likelier than 2^-H. A run goes on for C - 1
    further samples with at most 2^(-H (C - 1)), and that is to be *false_alarm* or less::

        C = 1 + ceil(-log2(false_alarm) / H)
    """
    return 1 + math.ceil(-math.log2(false_alarm) / min_entropy)


def proportion_cutoff(min_entropy: float, false_alarm: float) -> int:
    """Return how often its first sample in a window fails a generator (SP 800-90B, 4.4.2).

    Each of the 511 others equals it with p = 2^-H at most, so that::

        C = 2 + least k with P(Binomial(511, p) > k) <= false_alarm

    This is what Linux uses. The standard's own formula has 1 and 512, as if the first sample
    might differ from itself.
    """
    others, p = _WINDOW - 1, 2.0**-min_entropy
    beyond = 0.0  # P(more than k), summed from its small end, so that nothing cancels
    for k in range(others, 0, -1):
        log = math.log(math.comb(others, k)) + k * math.log(p) + (others - k) * math.log1p(-p)
        beyond += math.exp(log)
        if beyond > false_alarm:
            return min(2 + k, _WINDOW)
    return 2


class HealthTests:
    """Watches one stream of bytes from its beginning; each byte is a sample.

    *min_entropy*: bits that each byte is claimed to hold at least. *false_alarm*: the chance,
    per sample or window, that a generator as good as claimed fails; at 2^-40 and 4 Mbit/s
    less than once in two years for one that is just as claimed, and never for a good one. A
    failure is final.
    """

    def __init__(self, *, min_entropy: float = 6.0, false_alarm: float = 2.0**-40) -> None:
        self._run_cutoff = repetition_cutoff(min_entropy, false_alarm)
        self._share_cutoff = proportion_cutoff(min_entropy, false_alarm)
        self._run = re.compile(rb"(.)\1{%d}" % (self._run_cutoff - 1), re.DOTALL)
        self._tail = b""  # the run at the end: the only samples that are kept
        self._first = b""
        self._seen = self._equal = 0
        self.failure = ""

    def take(self, samples: bytes | bytearray) -> bool:
        """Test the next *samples*; false, for good, once a test has failed.

        ``failure`` then names the test.
        """
        if not self.failure:
            self.failure = self._repetition(samples) or self._proportion(samples)
        return not self.failure

    def _repetition(self, samples: bytes | bytearray) -> str:
        joined = self._tail + samples
        last = joined[-1:]
        length = len(joined) - len(joined.rstrip(last)) if last else 0
        self._tail = last * min(length, self._run_cutoff)
        return "repetition count" if self._run.search(joined) else ""

    def _proportion(self, samples: bytes | bytearray) -> str:
        place = 0
        while place < len(samples):
            if self._seen == 0:
                self._first = bytes(samples[place : place + 1])
            end = min(place + _WINDOW - self._seen, len(samples))
            self._equal += samples.count(self._first, place, end)
            if self._equal >= self._share_cutoff:
                return "adaptive proportion"
            self._seen += end - place
            place = end
            if self._seen == _WINDOW:
                self._seen = self._equal = 0
        return ""
