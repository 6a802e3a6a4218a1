"""CKA_LABEL: whose half a key is, and where it comes from."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError, UsageError
from qkd_hal.keys import Origin, Provenance
from qkd_hal_drivers.pkcs11_token._label import KeyLabel

NAMES = st.from_regex(r"[A-Za-z0-9._-]*[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True).filter(
    lambda name: len(name) <= 64
)
LABELS = st.builds(
    KeyLabel,
    st.booleans(),
    NAMES,
    NAMES,
    st.builds(Provenance, st.sampled_from(Origin), st.lists(NAMES, max_size=4).map(tuple)),
)


def test_a_label_is_plain_text() -> None:
    provenance = Provenance(Origin.HARDWARE, ("n1", "n2"))
    own = KeyLabel(own=True, site="alice", peer="bob", provenance=provenance)
    assert bytes(own) == b"qkd own alice bob hardware n1 n2"
    simulated = Provenance(Origin.SIMULATED)
    theirs = KeyLabel(own=False, site="bob", peer="alice", provenance=simulated)
    assert bytes(theirs) == b"qkd peer bob alice simulated"


@given(LABELS)
def test_a_label_is_read_as_it_was_written(label: KeyLabel) -> None:
    assert KeyLabel.parse(bytes(label)) == label


@given(LABELS, st.binary(min_size=1, max_size=4))
def test_what_follows_a_label_is_not_ignored(label: KeyLabel, more: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert bytes(KeyLabel.parse(bytes(label) + more)) == bytes(label) + more


@given(st.binary(max_size=80) | st.text("qkd ownperalicebhu", max_size=40).map(str.encode))
def test_any_other_label_is_a_protocol_error(raw: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        KeyLabel.parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"qkd own alice bob",
        b"key own alice bob hardware",
        b"qkd both alice bob hardware",
        b"qkd own alice bob stolen",
        b"qkd own al/ice bob hardware",
        b"qkd own alice bob hardware ",
        b"qkd own alice  bob hardware",
        b"qkd own alice bob hardware" + b" node" * 300,
        b"qkd own alice bob hardware \xff",
    ],
)
def test_a_broken_label_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        KeyLabel.parse(raw)


def test_a_label_that_no_token_could_read_again_is_not_written() -> None:
    nodes = tuple(f"node-{number}" for number in range(200))
    long = KeyLabel(
        own=True, site="alice", peer="bob", provenance=Provenance(Origin.HARDWARE, nodes)
    )
    with pytest.raises(UsageError, match="trusted nodes"):
        bytes(long)
    with pytest.raises(UsageError):
        KeyLabel(own=True, site="al ice", peer="bob", provenance=Provenance(Origin.UNKNOWN))
