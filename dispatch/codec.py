"""The payload codec: encrypts what Temporal keeps, for those who put more into inputs than numbers and codes.

On when `JOURNEYS_PAYLOAD_KEYS` is set: ``id:base64,id:base64``, each key 32 bytes. The first one encrypts, all of
them decrypt. To change keys without stopping: add the new one at the end, everywhere; then put it in front,
everywhere; then remove the old one when `journeys payload-keys` finds no run that needs it.
"""

import base64
import binascii
import dataclasses
import os
import re
import secrets
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

VARIABLE = "JOURNEYS_PAYLOAD_KEYS"

ENCODING = b"binary/encrypted"
KEY_ID = "encryption-key-id"
"""Where an encrypted payload's metadata names its key."""

KEY_BYTES = 32
"""AES-256."""

NONCE_BYTES = 12
"""NIST SP 800-38D, 8.2: random nonces of 96 bits; one key is good for 2^32 payloads."""


class PayloadKeysWrong(ValueError):
    """The keys cannot be used; the message says why, and never shows one."""


class PayloadUnreadable(Exception):
    """A payload cannot be decrypted; the message names its key."""


class Encryption(PayloadCodec):
    """Encrypts whole payloads, metadata and all, by AES-256-GCM.

    What is not encrypted is read as it is, so runs that began before keys were set go on.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take keys by id; the first one encrypts."""
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._newest = next(iter(keys))

    @property
    def key_ids(self) -> list[str]:
        """The ids of the known keys; the first one encrypts."""
        return list(self._ciphers)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt payloads with the newest key."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt what is encrypted.

        Raises:
            PayloadUnreadable: The key is not known, or the payload was changed.
        """
        return [self._decrypted(payload) for payload in payloads]

    def knows_key_of(self, payload: Payload) -> bool:
        """Whether a payload can be decrypted, or need not be."""
        return (key_id := key_id_of(payload)) is None or key_id in self._ciphers

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, payload.SerializeToString(), _bound_to(self._newest))
        return Payload(metadata={"encoding": ENCODING, KEY_ID: self._newest.encode()}, data=nonce + sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        key_id = key_id_of(payload)
        if key_id is None:
            return payload
        if (cipher := self._ciphers.get(key_id)) is None:
            raise PayloadUnreadable(f"{VARIABLE} has no key {key_id!r}, with which a payload was encrypted")
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, _bound_to(key_id)))
        except (InvalidTag, ValueError):
            raise PayloadUnreadable(f"a payload was not encrypted with the key {key_id!r} it names") from None


def key_id_of(payload: Payload) -> str | None:
    """Return the id of the key a payload was encrypted with; None if it is not encrypted."""
    if payload.metadata.get("encoding") != ENCODING or KEY_ID not in payload.metadata:
        return None
    return payload.metadata[KEY_ID].decode(errors="replace")


def payload_codec() -> Encryption | None:
    """Return the codec the environment asks for; None if it asks for none.

    Raises:
        PayloadKeysWrong: `JOURNEYS_PAYLOAD_KEYS` is wrong.
    """
    given = os.environ.get(VARIABLE, "").strip()
    return Encryption(_read(given)) if given else None


def data_converter() -> DataConverter:
    """Return how every client, worker and replay writes and reads payloads.

    Raises:
        PayloadKeysWrong: `JOURNEYS_PAYLOAD_KEYS` is wrong.
    """
    codec = payload_codec()
    if codec is None:
        return pydantic_data_converter
    return dataclasses.replace(
        pydantic_data_converter,
        payload_codec=codec,
        # The words and places of failures become payloads too.
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def _read(given: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for place, part in enumerate(given.split(","), 1):
        key_id, _, encoded = part.strip().partition(":")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", key_id) or not encoded:
            raise PayloadKeysWrong(f"{VARIABLE}: key {place} must be id:base64, the id of letters, digits and ._-")
        if key_id in keys:
            raise PayloadKeysWrong(f"{VARIABLE}: key {place} has the id of an earlier one")
        keys[key_id] = _key(encoded, place)
    return keys


def _key(encoded: str, place: int) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise PayloadKeysWrong(
            f"{VARIABLE}: key {place} must be {KEY_BYTES} bytes in base64, as `openssl rand -base64 {KEY_BYTES}` prints"
        )
    return key


def _bound_to(key_id: str) -> bytes:
    """What is authenticated beside the text: a payload cannot be passed off as another key's, or another format's."""
    return b"journeys payload 1:" + key_id.encode()
