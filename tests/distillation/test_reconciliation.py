"""The question's wire form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.reconciliation import ParityQuery
from qkd_hal.errors import ProtocolError


@given(st.integers(1, 2**32 - 1), st.binary())
def test_queries_come_back_from_the_wire(count: int, body: bytes) -> None:
    query = ParityQuery(count, body)
    assert ParityQuery.from_bytes(query.to_bytes()) == query
    assert len(query) == count


def test_query_bytes_are_golden() -> None:
    assert ParityQuery(0x01020304, b"\xaa\x80").to_bytes().hex(" ") == "01 02 03 04 aa 80"


@pytest.mark.parametrize("raw", [b"", b"\1", b"\0\0\1", bytes(4), bytes(9)])
def test_malformed_queries_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        ParityQuery.from_bytes(raw)
