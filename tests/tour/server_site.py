"""A server to try things on: plain, or with TLS and API keys as one is that strangers can reach."""

import pathlib
import re
import subprocess
import sys

import grpc
from reflected import Server

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "oracle"))

from harness import PROGRAMS, ROOT, Loyaltyd  # noqa: E402, F401

# Who calls, and what each may.
ROLES = {"shop": "[pos, storefront]", "checker": "[support, manager, operator]", "all": "[pos, storefront, support, manager, operator]"}


def access_file(binary, folder):
    """One with these callers, in `folder`; the key of each is beside it, in `<who>.key`."""
    lines = ["principals:"]
    for principal, roles in ROLES.items():
        made = subprocess.run([binary, "key", "new", "--key-id", "first"], check=True, capture_output=True, text=True)
        (folder / f"{principal}.key").write_text(made.stdout)
        digest = re.search(r'hash: "([^"]+)"', made.stderr).group(1)
        lines += [
            f"  - principal_id: {principal}",
            f"    roles: {roles}",
            '    programs: ["*"]',
            f'    api_keys: [{{key_id: first, hash: "{digest}"}}]',
        ]
    (folder / "access.yaml").write_text("\n".join(lines) + "\n")
    return folder / "access.yaml"


def bearer(key):
    """The metadata with which a call shows the key in that file."""
    return [("authorization", f"Bearer {key.read_text().strip()}")]


class Site:
    """A server, plain or with TLS and API keys, and what its callers need to know."""

    def __init__(self, binary, folder, programs, secure, flags=()):
        # Compiled once, for what is in target/ is in nobody's way.
        self.environment, scheme, reach = {"PYTHONDONTWRITEBYTECODE": ""}, "", []
        self.credentials = self.metadata = None
        if secure:
            flags, scheme = [*flags, *self.secured(binary, folder)], "https://"
            reach = ["--ca", folder / "ca.pem", "--api-key-file", folder / "checker.key"]
            self.environment |= {"LOYALTYD_CA": str(folder / "ca.pem"), "LOYALTYD_API_KEY_FILE": str(folder / "shop.key")}
            self.credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes())
            self.metadata = bearer(folder / "checker.key")
        self.server = Loyaltyd(binary, folder, programs, *flags, scheme=scheme, reach=reach)
        self.folder, self.scheme, self.is_secure = folder, scheme, secure

    @staticmethod
    def secured(binary, folder):
        """A CA, a certificate of the server, and principals with a key each."""
        # Here, for who tries things without TLS need not have it.
        import trustme

        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_pem.write_to_path(folder / "server.key")
        for part in certificate.cert_chain_pems:
            part.write_to_path(folder / "server.pem", append=True)
        return ["--tls-cert", folder / "server.pem", "--tls-key", folder / "server.key", "--access", access_file(binary, folder)]

    def checker(self):
        return Server(self.server.address, self.credentials, self.metadata)

    def grpcurl(self):
        """What `grpcurl -plaintext` is here, for one who may do all; with the key from the environment, as the runbook has it."""
        if not self.is_secure:
            return "grpcurl -plaintext"
        return f"grpcurl -cacert {self.folder / 'ca.pem'} -expand-headers -H 'authorization: Bearer ${{LOYALTYD_API_KEY}}'"

    def user(self):
        """What the environment says of how `loyaltyd` reaches the server, for one who may do all."""
        server = {"LOYALTYD_SERVER": f"{self.scheme}{self.server.address}"}
        if not self.is_secure:
            return server
        key = self.folder / "all.key"
        return {**self.environment, **server, "LOYALTYD_API_KEY_FILE": str(key), "LOYALTYD_API_KEY": key.read_text().strip()}
