"""Certificates and kubeconfigs of a cluster; elliptic keys, because they are made in milliseconds."""

import json
from dataclasses import dataclass
from pathlib import Path

from kube.processes import Home, run

DAYS = "365"
KEY = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


@dataclass(frozen=True)
class Authority:
    """A cluster's certificate authority, and what it signs."""

    folder: Path

    @classmethod
    def of(cls, home: Home) -> "Authority":
        return cls(home.path("pki"))

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def make(self) -> None:
        """The authority itself, and the key that signs service accounts' tokens."""
        if (self.folder / "sa.pub").exists():
            return
        subject = ["-subj", "/CN=recpipe-cluster", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        run([*self._request("ca"), "-x509", "-days", DAYS, *subject, "-out", self.file("ca.crt")])
        run(["openssl", "genpkey", *KEY, "-out", self.file("sa.key")])
        run(["openssl", "pkey", "-in", self.file("sa.key"), "-pubout", "-out", self.file("sa.pub")])

    def sign(self, name: str, subject: str, *alternatives: str) -> None:
        """A certificate and its key, NAME.crt and NAME.key; `alternatives` such as DNS:localhost."""
        if (self.folder / f"{name}.crt").exists():
            return
        signer = ["-x509", "-days", DAYS, "-CA", self.file("ca.crt"), "-CAkey", self.file("ca.key")]
        named = ["-addext", f"subjectAltName={','.join(alternatives)}"] if alternatives else []
        leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
        out = ["-subj", subject, "-out", self.file(f"{name}.crt")]
        run([*self._request(name), *signer, *leaf, *named, *out])

    def kubeconfig(self, target: Path, server: str, user: str) -> None:
        """For one who holds the certificate USER.crt."""
        cluster = {"server": server, "certificate-authority": self.file("ca.crt")}
        identity = {"client-certificate": self.file(f"{user}.crt"), "client-key": self.file(f"{user}.key")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "recpipe", "cluster": cluster}],
            "users": [{"name": user, "user": identity}],
            "contexts": [{"name": user, "context": {"cluster": "recpipe", "user": user}}],
            "current-context": user,
        }
        target.write_text(json.dumps(config, indent=1))  # JSON is YAML
        target.chmod(0o600)

    def _request(self, name: str) -> list[str]:
        return ["openssl", "req", "-newkey", "ec", *KEY[2:], "-noenc", "-keyout", self.file(f"{name}.key")]
