"""A signer whose key a KeyFolder holds.

In: nothing. Out: what signers of every store have alike. Always holds: a key is found by its name in
its folder, never by a URI of securesystemslib's.
"""

from __future__ import annotations

from securesystemslib.signer import Key, SecretsHandler, Signer


class HeldSigner(Signer):
    """Sets `_public` in its constructor."""

    _public: Key

    @property
    def public_key(self) -> Key:
        return self._public

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        raise NotImplementedError("keys are loaded by KeyFolder")
