"""The one file that reaches below pyOpenSSL: external PSKs of RFC 8446, section 4.2.11.

pyOpenSSL runs the connection; the calls that it lacks come from the bindings that
``cryptography`` builds for it. These are private to that package, so everything needed is
looked for at first use. OpenSSL copies key and identity; its copies are its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from qkd_hal.errors import ConfigurationError, MissingExtraError
from qkd_hal.tls.policy import suite_id

try:
    from cryptography.hazmat.bindings.openssl.binding import Binding
    from OpenSSL import SSL
except ImportError as missing:
    what = "TLS needs pyOpenSSL and cryptography"
    raise MissingExtraError(what, cure="Install them: pip install 'qkd-hal[tls]'") from missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.tls.policy import Policy

__all__ = [
    "SSL",
    "answering",
    "check_engine",
    "new_context",
    "offering",
    "psk_was_used",
    "set_groups",
]

TESTED = "cryptography 47 to 50 with pyOpenSSL 26"

_TLS_1_3 = 0x0304
_NEEDED = (
    "Cryptography_HAS_PSK_TLSv1_3",
    "Cryptography_SSL_SESSION_new",
    "SSL_CIPHER_find",
    "SSL_CTX_set1_curves_list",
    "SSL_CTX_set_psk_find_session_callback",
    "SSL_CTX_set_psk_use_session_callback",
    "SSL_SESSION_set1_master_key",
    "SSL_SESSION_set_cipher",
    "SSL_SESSION_set_protocol_version",
    "SSL_session_reused",
)

_lib: Any = Binding.lib
_ffi: Any = Binding.ffi

# What the callbacks answer, by address of the SSL object: one entry per handshake that
# runs now, so that connections of one context never see each other's key.
_offers: dict[int, tuple[Any, int, memoryview, bytes]] = {}
_finders: dict[int, tuple[Callable[[bytes], memoryview], bytes]] = {}


@cache
def _require_features() -> None:
    missing = [name for name in _NEEDED if not getattr(_lib, name, None)]
    if missing:
        raise ConfigurationError(
            f"this build of cryptography lacks {', '.join(missing)}",
            cure=f"Tested are {TESTED}: pip install --upgrade 'qkd-hal[tls]'",
        )


def new_context(policy: Policy) -> SSL.Context:
    """Return an OpenSSL context for both roles that can agree on nothing but *policy*.

    Raises:
        ConfigurationError: this OpenSSL lacks external PSKs, a group or a suite.
    """
    _require_features()
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    # Without tickets and cache a resumed session can only be our external key.
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_tls13_ciphersuites(":".join(policy.suites).encode())
    set_groups(context, policy.groups)
    _lib.SSL_CTX_set_psk_use_session_callback(_handle(context), _use_session)
    _lib.SSL_CTX_set_psk_find_session_callback(_handle(context), _find_session)
    return context


def check_engine(policy: Policy) -> str:
    """Return the version of OpenSSL, once it is sure that it can do what *policy* asks.

    Raises:
        ConfigurationError: it cannot; the message says what is missing.
    """
    new_context(policy)
    return SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii")


def set_groups(context: SSL.Context, groups: tuple[str, ...]) -> None:
    """Let *context* agree on these key-exchange groups only, best first.

    Raises:
        ConfigurationError: this OpenSSL does not know one of them.
    """
    if _lib.SSL_CTX_set1_curves_list(_handle(context), ":".join(groups).encode()) != 1:
        what = f"this OpenSSL does not know all of the groups {', '.join(groups)}"
        raise ConfigurationError(what, cure=f"Tested are {TESTED}")


@contextmanager
def offering(
    connection: SSL.Connection, identity: bytes, key: memoryview, policy: Policy
) -> Iterator[None]:
    """Let the client handshake inside the block offer *key* under *identity*."""
    address = _address(_handle(connection))
    buffer = _ffi.from_buffer("unsigned char[]", identity)
    _offers[address] = (buffer, len(identity), key, suite_id(policy))
    try:
        yield
    finally:
        del _offers[address]


@contextmanager
def answering(
    connection: SSL.Connection, find: Callable[[bytes], memoryview], policy: Policy
) -> Iterator[None]:
    """Let the server handshake inside the block ask *find* for the key of an identity.

    *find* must not raise: an exception cannot cross OpenSSL's frames.
    """
    address = _address(_handle(connection))
    _finders[address] = (find, suite_id(policy))
    try:
        yield
    finally:
        del _finders[address]


def psk_was_used(connection: SSL.Connection) -> bool:
    """Tell whether the finished handshake ran on the external key."""
    return bool(_lib.SSL_session_reused(_handle(connection)))


def _handle(owner: SSL.Context | SSL.Connection) -> Any:
    return owner._context if isinstance(owner, SSL.Context) else owner._ssl  # noqa: SLF001


def _address(ssl: Any) -> int:
    return int(_ffi.cast("uintptr_t", ssl))


def _new_session(ssl: Any, key: memoryview, suite: bytes) -> Any:
    """Build the session that stands for an external key; NULL when OpenSSL refuses it."""
    session = _lib.Cryptography_SSL_SESSION_new()
    with _ffi.from_buffer(key) as pointer:
        built = (
            _lib.SSL_SESSION_set1_master_key(session, pointer, len(key)) == 1
            and _lib.SSL_SESSION_set_cipher(session, _lib.SSL_CIPHER_find(ssl, suite)) == 1
            and _lib.SSL_SESSION_set_protocol_version(session, _TLS_1_3) == 1
        )
    if not built:
        _lib.SSL_SESSION_free(session)
        return _ffi.NULL
    return session


# Both live as long as the process, so no context can outlive them.
@_ffi.callback(  # type: ignore[untyped-decorator, unused-ignore]
    "int(SSL *, const EVP_MD *, const unsigned char **, size_t *, SSL_SESSION **)", error=0
)
def _use_session(ssl: Any, _hash: Any, identity: Any, length: Any, session: Any) -> int:
    buffer, size, key, suite = _offers[_address(ssl)]
    session[0] = _new_session(ssl, key, suite)  # OpenSSL owns it from here
    identity[0], length[0] = buffer, size
    return int(session[0] != _ffi.NULL)


@_ffi.callback(  # type: ignore[untyped-decorator, unused-ignore]
    "int(SSL *, const unsigned char *, size_t, SSL_SESSION **)", error=0
)
def _find_session(ssl: Any, identity: Any, length: int, session: Any) -> int:
    find, suite = _finders[_address(ssl)]
    session[0] = _new_session(ssl, find(_ffi.buffer(identity, length)[:]), suite)
    return int(session[0] != _ffi.NULL)
