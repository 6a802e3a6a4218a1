"""The net key of a QSSL session (Faraj 2008): small blocks, 5 % QBER, a disclosed sample.

The session discloses a fifth of the sifted bits and keeps the rest. What it may keep of them
depends on whose proof one believes; the difference is what the finite-size analysis costs.
"""

from __future__ import annotations

from dataclasses import dataclass

from qkd_hal.distillation.finite_key import (
    binary_entropy,
    tomamichel_2012_secret_bits,
    tomamichel_leverrier_secret_bits,
)
from qkd_hal.distillation.finite_key_asymptotic import bennett_1992_bits, shor_preskill_bits

__all__ = ["QSSLGain", "QSSLSession", "net_gain"]

_SHARES = tuple(share / 100 for share in range(2, 60))  # of a sample that is chosen freely


@dataclass(frozen=True, slots=True)
class QSSLSession:
    """What a session has: ``qber``; ``disclosed``, the share of sifted bits that is compared.

    ``efficiency``: leak over Shannon's limit. ``security_bits``: of privacy amplification in
    the asymptotic formulae; 232 make 2^-s / ln 2 about 1e-70, as the paper wants. ``epsilon``:
    of the finite bounds, all terms together. ``tag_bits``: of one authentication tag for each
    direction, over all that was said.
    """

    qber: float = 0.05
    disclosed: float = 0.2
    efficiency: float = 1.06
    security_bits: float = 232
    epsilon: float = 1e-10
    tag_bits: int = 128


@dataclass(frozen=True, slots=True)
class QSSLGain:
    """Key bits from ``sifted`` sifted bits, 0 where none are left.

    ``individual``: Bennett et al. 1992, intercept and resend only. ``asymptotic``: Shor and
    Preskill 2000, the sample taken for the truth. ``serfling``: Tomamichel et al. 2012;
    ``exact``: Tomamichel and Leverrier 2017 with exact sampling; ``best_sample``: the same with
    the sample that gives most; ``net``: ``exact`` less the tags' masks (negative: a loss).
    """

    sifted: int
    individual: int
    asymptotic: int
    serfling: int
    exact: int
    best_sample: int
    net: int


def net_gain(sifted: int, session: QSSLSession = QSSLSession()) -> QSSLGain:
    """Return what a session of *sifted* bits gains, by each analysis."""
    test = round(session.disclosed * sifted)
    leak = _leak(sifted - test, session)
    counted = sifted - test, session.qber, leak, session.security_bits
    finite = sifted - test, test, session.qber, leak, session.epsilon, session.epsilon
    exact = max(0, _exact(sifted, test, session))
    return QSSLGain(
        sifted,
        individual=max(0, round(bennett_1992_bits(*counted))),
        asymptotic=max(0, round(shor_preskill_bits(*counted))),
        serfling=max(0, tomamichel_2012_secret_bits(*finite)),
        exact=exact,
        best_sample=max(0, *(_exact(sifted, round(x * sifted), session) for x in _SHARES)),
        net=exact - 2 * session.tag_bits,
    )


def _leak(key_bits: int, session: QSSLSession) -> float:
    return session.efficiency * key_bits * binary_entropy(session.qber)


def _exact(sifted: int, test: int, session: QSSLSession) -> int:
    key_bits = sifted - test
    terms = session.epsilon / 3, session.epsilon / 6, session.epsilon / 6  # 2 pe + pa + cor
    counts = key_bits, test, session.qber, _leak(key_bits, session)
    return tomamichel_leverrier_secret_bits(*counts, *terms)
