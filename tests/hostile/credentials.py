"""Keys, certificates and tokens, good ones and bad ones; the access file that names the good ones; the issuer's page of public keys."""

import base64
import datetime
import hashlib
import hmac
import http.server
import ipaddress
import json
import ssl
import subprocess
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER, STRICT_ISSUER, AUDIENCE = "https://id.test", "https://strict.id.test", "loyaltyd"
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class Authority:
    """Issues certificates, for its whole life of one run."""

    def __init__(self, folder, name):
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self.builder(self.name, self.name, self.key.public_key(), NOW - DAY, NOW + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.pem)

    def builder(self, subject, issuer, public_key, start, end):
        built = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
        return built.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)

    def issue(self, name, dns=(), common_name="", usage=ExtendedKeyUsageOID.CLIENT_AUTH, start=NOW - DAY, end=NOW + DAY, itself=False):
        """Files of a certificate and of its key. One that is of itself is signed by its own key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or name)])
        names = [x509.DNSName(text) for text in dns]
        if usage == ExtendedKeyUsageOID.SERVER_AUTH:
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = self.builder(subject, subject if itself else self.name, key.public_key(), start, end)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(key if itself else self.key, hashes.SHA256())
        certificate_file, key_file = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        key_file.chmod(0o600)
        return certificate_file, key_file

    def context(self, certificate=None, alpn=("h2",)):
        """Of a client that trusts this authority, with a certificate of its own if it has one."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        context.set_alpn_protocols(list(alpn))
        if certificate:
            context.load_cert_chain(*certificate)
        return context


def b64(content):
    return base64.urlsafe_b64encode(content if isinstance(content, bytes) else json.dumps(content).encode()).rstrip(b"=").decode()


def number(value, size):
    return b64(value.to_bytes(size, "big"))


class Signer:
    """A key of an issuer, and whoever else signs."""

    def __init__(self, kid, algorithm):
        self.kid, self.algorithm = kid, algorithm
        if algorithm == "RS256":
            self.key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        else:
            self.key = ec.generate_private_key(ec.SECP256R1())

    def jwk(self):
        public = self.key.public_key().public_numbers()
        if self.algorithm == "RS256":
            return {"kty": "RSA", "kid": self.kid, "use": "sig", "n": number(public.n, 256), "e": number(public.e, 3)}
        return {"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "x": number(public.x, 32), "y": number(public.y, 32)}

    def pem(self):
        public = self.key.public_key()
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def signature(self, content):
        if self.algorithm == "RS256":
            return self.key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(self.key.sign(content, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def token(self, claims=None, header=None, payload=None, signature=None):
        """A JSON Web Token; each part can be told otherwise."""
        content = b64({"alg": self.algorithm, "typ": "JWT", "kid": self.kid} | (header or {})) + "."
        content += b64(payload if payload is not None else good_claims() | (claims or {}))
        return content + "." + b64(self.signature(content.encode()) if signature is None else signature(content.encode()))


def good_claims():
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "support-desk", "exp": int(time.time()) + 600}


def without(claim):
    claims = good_claims()
    del claims[claim]
    return json.dumps(claims).encode()


def with_public_key_as_secret(signer):
    """The oldest trick: what verifies RS256 is public, and taken as the secret of HS256."""
    return signer.token(header={"alg": "HS256"}, signature=lambda content: hmac.new(signer.pem(), content, hashlib.sha256).digest())


class Page:
    """Serves one document on this machine, and counts who asks."""

    def __init__(self, document):
        page = self
        self.content, self.asked = json.dumps(document).encode(), 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                page.asked += 1
                self.send_response(200)
                self.send_header("content-length", str(len(page.content)))
                self.end_headers()
                self.wfile.write(page.content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def new_key(binary):
    """As `loyaltyd key new` makes it, and the hash that it prints for the access file."""
    made = subprocess.run([binary, "key", "new", "--key-id", "one"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    key = made.stdout.strip()
    digest = "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    if digest not in made.stderr:
        raise SystemExit(f"`loyaltyd key new` prints another hash than that of its key:\n{made.stderr}")
    return key, digest


class Access:
    """The access file, as a retailer would write it, with its secrets."""

    NAMES = "till storefront support manager operator operator-of-one desk other-till limited ended leaver stranger".split()

    def __init__(self, binary, folder):
        made = {name: new_key(binary) for name in self.NAMES}
        self.keys = {name: key for name, (key, _) in made.items()}
        self.hashes = {name: digest for name, (_, digest) in made.items()}
        self.rsa, self.ec = Signer("rsa-1", "RS256"), Signer("ec-1", "ES256")
        self.page = Page({"keys": [self.rsa.jwk(), self.ec.jwk()]})
        self.trap = Page({"keys": []})
        self.strict_file = folder / "strict.jwks.json"
        self.strict_file.write_text(json.dumps({"keys": [self.rsa.jwk(), self.ec.jwk()]}))
        self.file = folder / "access.yaml"
        self.write()

    def write(self, without=()):
        ended = (NOW - DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
        people = [
            # name, role, programmes, limits, the time when its key ended, other credentials
            ("till", "pos", "vietnam", "", "", "certificates: [{dns: till-1.test}]"),
            ("other-till", "pos", "corner-shop", "", "", "certificates: [{dns: till-9.test}]"),
            ("storefront", "storefront", "vietnam", "", "", ""),
            ("support", "support", "vietnam", "adjustment_points: 500", "", f'tokens: [{{issuer: "{ISSUER}", subject: support-desk}}]'),
            ("desk", "support", "vietnam, corner-shop", "", "", ""),
            ("manager", "manager", "vietnam", "", "", ""),
            ("operator", "operator", '"*"', "", "", f'tokens: [{{issuer: "{STRICT_ISSUER}", subject: backups}}]'),
            ("operator-of-one", "operator", "vietnam", "", "", ""),
            ("limited", "pos", "vietnam", "requests_per_second: 5", "", ""),
            ("ended", "pos", "vietnam", "", ended, ""),
            ("leaver", "pos", "vietnam", "", "", ""),
        ]
        lines = ["principals:"]
        for name, role, programs, limits, end, others in people:
            if name in without:
                continue
            end = f', expire_time: "{end}"' if end else ""
            lines += [f"  - principal_id: {name}", f"    roles: [{role}]", f"    programs: [{programs}]", f"    limits: {{{limits}}}"]
            lines += [f'    api_keys: [{{key_id: one, hash: "{self.hashes[name]}"{end}}}]'] + ([f"    {others}"] if others else [])
        lines.append("issuers:")
        for issuer, source, algorithms in (
            (ISSUER, f'jwks_url: "{self.page.url}"', "RS256, ES256"),
            (STRICT_ISSUER, f'jwks_file: "{self.strict_file}"', "ES256"),
        ):
            lines.append(f'  - {{issuer: "{issuer}", audience: {AUDIENCE}, {source}, algorithms: [{algorithms}], leeway_seconds: 0}}')
        # In one step, so that nobody reads half of it.
        new = self.file.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.rename(self.file)

    def close(self):
        self.page.close()
        self.trap.close()
