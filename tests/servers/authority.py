"""A certificate authority for one test session."""

from __future__ import annotations

from pathlib import Path

import trustme


class Authority:
    """Issues certificates; `file` is what clients have to trust (as `SSL_CERT_FILE` would name it)."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Write a certificate for these names, and its key, as PEM files into a folder."""
        issued = self._authority.issue_cert(*names)
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return certificate, key
