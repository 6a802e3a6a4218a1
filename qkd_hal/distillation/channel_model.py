"""What an undisturbed link is expected to count: for planning, never for a key length.

The model is that of Lim et al., PRA 89, 022307 (2014), section IV, with *eta_sys* in place of
the printed *eta_ch* in the error rate; without afterpulses it is that of Rusca et al.,
Appl. Phys. Lett. 112, 171104 (2018), whose p_DC is that of both detectors together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from qkd_hal.errors import ConfigurationError

__all__ = ["ExpectedRates", "Light", "Link", "expected_rates"]


@dataclass(frozen=True, slots=True)
class Light:
    """Pulses of mean photon numbers *intensities* with *probabilities*.

    No intensities at all mean an ideal source: one photon per pulse.
    """

    intensities: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = (1.0,)

    def signals(self, transmittance: float) -> list[float]:
        """Return the chance, per intensity, that light reaches a perfect detector."""
        if not self.intensities:
            return [transmittance]
        return [-math.expm1(-mu * transmittance) for mu in self.intensities]


@dataclass(frozen=True, slots=True)
class Link:
    """Fibre, receiver and clock.

    *attenuation_db*: fibre and connectors, without the detectors' *efficiency*.
    *dark_count_probability*: per pulse and detector. *afterpulse_probability*: per click.
    *misalignment*: share of the light that goes to the wrong detector. *dead_time_s*: after
    a click the whole receiver is blind that long; with *matching_clicks_only* clicks in the
    wrong basis blind nothing, as in the figures of Rusca 2018.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    attenuation_db: float
    efficiency: float = 0.5
    dark_count_probability: float = 1e-7
    afterpulse_probability: float = 0.0
    misalignment: float = 0.01
    clock_hz: float = 1e9
    dead_time_s: float = 0.0
    matching_clicks_only: bool = False

    def __post_init__(self) -> None:
        shares = (self.dark_count_probability, self.afterpulse_probability, self.misalignment)
        possible = (
            0 <= self.attenuation_db < 1000
            and 0 < self.efficiency <= 1
            and all(0 <= share < 0.5 for share in shares)
            and 0 < self.clock_hz < math.inf
            and 0 <= self.dead_time_s < math.inf
        )
        if not possible:
            raise ConfigurationError(
                "the optical link is impossible",
                cure="Losses are not negative, the efficiency is 0 to 1, the clock runs, "
                "and dark counts, afterpulses and misalignment are below 0.5",
            )

    @property
    def transmittance(self) -> float:
        """eta_sys: the chance that a photon is detected."""
        return float(self.efficiency * 10 ** (-self.attenuation_db / 10))

    def click(self, signal: float) -> tuple[float, float]:
        """Return the chances of a click and of a wrong click, both bases being the same."""
        dark = self.dark_count_probability
        once = 1 - (1 - 2 * dark) * (1 - signal)
        wrong = dark + self.misalignment * signal + self.afterpulse_probability * once / 2
        return once * (1 + self.afterpulse_probability), wrong


@dataclass(frozen=True, slots=True)
class ExpectedRates:
    """Expected counts per pulse and intensity."""

    key: tuple[float, ...]
    key_errors: tuple[float, ...]
    test: tuple[float, ...]
    test_errors: tuple[float, ...]

    @property
    def qber(self) -> float:
        """Error rate of either basis."""
        return sum(self.key_errors) / sum(self.key)


def expected_rates(link: Link, light: Light, key_basis_probability: float) -> ExpectedRates:
    """Return what *link* counts per pulse, both ends choosing their bases alike."""
    clicks = [link.click(signal) for signal in light.signals(link.transmittance)]
    pairs = list(zip(light.probabilities, clicks, strict=True))
    gains = [p * click for p, (click, _) in pairs]
    errors = [p * wrong for p, (_, wrong) in pairs]
    key, test = key_basis_probability**2, (1 - key_basis_probability) ** 2
    blinding = sum(gains) * (key + test if link.matching_clicks_only else 1.0)
    live = 1 / (1 + link.clock_hz * link.dead_time_s * blinding)
    return ExpectedRates(
        tuple(live * key * gain for gain in gains),
        tuple(live * key * error for error in errors),
        tuple(live * test * gain for gain in gains),
        tuple(live * test * error for error in errors),
    )
