"""Who we are to Pulsar, and whom we trust: a folder with the keys of a Secret as files.

`token`: a JSON web token. `oauth2.json`: client credentials, with `issuer_url`, `client_id`,
`client_secret` and, where the provider asks for them, `audience` and `scope`. `ca.crt`: certificates to
trust instead of the system's. `tls.crt` and `tls.key`: a client certificate. Every file is optional, and
is read when it is used, so that a Secret that is renewed counts at once.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec


class InvalidCredentialsError(ValueError):
    """A file of the credentials cannot be used; its content is not repeated."""


class ClientCredentials(msgspec.Struct, frozen=True):
    """OAuth 2.0 client credentials (RFC 6749, section 4.4)."""

    issuer_url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    client_id: str
    client_secret: str
    audience: str = ""
    scope: str = ""

    def __repr__(self) -> str:
        return f"ClientCredentials({self.issuer_url!r}, {self.client_id!r})"


@dataclass(frozen=True)
class Credentials:
    """The folder; None where Pulsar asks for nothing."""

    folder: Path | None = None

    def token(self) -> str | None:
        path = self._file("token")
        return path.read_text().strip() if path else None

    def oauth2(self) -> ClientCredentials | None:
        path = self._file("oauth2.json")
        try:
            return msgspec.json.decode(path.read_bytes(), type=ClientCredentials) if path else None
        except msgspec.DecodeError as error:
            raise InvalidCredentialsError(f"{path}: {error}") from error

    def trusted(self) -> Path | None:
        return self._file("ca.crt")

    def certificate(self) -> tuple[Path, Path] | None:
        """Client certificate and its key."""
        certificate, key = self._file("tls.crt"), self._file("tls.key")
        if (certificate is None) != (key is None):
            raise InvalidCredentialsError(f"{self.folder}: tls.crt and tls.key go together")
        return (certificate, key) if certificate and key else None

    def tls(self) -> ssl.SSLContext:
        """Verifies the server's name and certificate, and shows ours where there is one."""
        context = ssl.create_default_context(cafile=self.trusted())
        if pair := self.certificate():
            context.load_cert_chain(*pair)
        return context

    def _file(self, name: str) -> Path | None:
        path = self.folder / name if self.folder else None
        return path if path and path.exists() else None
