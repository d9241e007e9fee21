"""Whatever can sign: what the rest of the house knows of private keys."""

from tailseal.tokens.signers.local import LocalSigner
from tailseal.tokens.signers.protocol import RemoteSigner, Signer, SignerError

__all__ = ["LocalSigner", "RemoteSigner", "Signer", "SignerError"]
