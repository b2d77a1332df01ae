"""A private authority made by openssl: roots, intermediates, servers, clients, revocation lists."""

import subprocess
from pathlib import Path

DAY = 24 * 3600


def openssl(*words, text=None, cwd=None):
    return subprocess.run(["openssl", *map(str, words)], input=text, check=True, capture_output=True, text=True, cwd=cwd).stdout


class Authority:
    """An authority in a directory of its own. `issuer` makes it an intermediate one."""

    def __init__(self, directory, name, issuer=None):
        self.directory, self.name, self.issuer = Path(directory) / name.replace(" ", "-"), name, issuer
        self.directory.mkdir(parents=True)
        self.key, self.certificate = self.directory / "ca.key", self.directory / "ca.pem"
        (self.directory / "index").write_text("")
        (self.directory / "index.attr").write_text("unique_subject = no\n")
        (self.directory / "serial").write_text("1000\n")
        (self.directory / "crlnumber").write_text("01\n")
        self.config = self.directory / "openssl.cnf"
        self.config.write_text(
            f"""[ca]
default_ca = this
[this]
dir = {self.directory}
database = {self.directory}/index
new_certs_dir = {self.directory}
serial = {self.directory}/serial
crlnumber = {self.directory}/crlnumber
certificate = {self.certificate}
private_key = {self.key}
default_md = sha256
policy = any
copy_extensions = none
unique_subject = no
[any]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional
emailAddress = optional
[req]
distinguished_name = name
string_mask = utf8only
utf8 = yes
[name]
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""
        )
        self._key(self.key)
        if issuer is None:
            openssl("req", "-x509", "-new", "-key", self.key, "-subj", f"/O=Test/CN={name}", "-days", 3650, "-sha256", "-config", self.config,
                    "-extensions", "authority", "-out", self.certificate)  # fmt: skip
        else:
            request = self.directory / "ca.csr"
            openssl("req", "-new", "-key", self.key, "-subj", f"/O=Test/CN={name}", "-config", self.config, "-out", request)
            issuer.sign(request, self.certificate, "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n")

    @staticmethod
    def _key(path, kind="EC"):
        more = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("genpkey", *(more if kind == "EC" else ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]), "-out", path)
        path.chmod(0o644)

    def sign(self, request, certificate, extensions, start=None, end=None):
        """Signs a request. `start` and `end` are of openssl's form YYYYMMDDHHMMSSZ."""
        file = self.directory / "extensions"
        file.write_text(extensions)
        dates = ["-startdate", start or "20200101000000Z", "-enddate", end or "20491231000000Z"]
        openssl("ca", "-batch", "-notext", "-utf8", "-config", self.config, "-in", request, "-out", certificate, "-extfile", file, *dates)

    def issue(self, name, subject=None, names=(), kind="EC", **dates):
        """A certificate with its key: (certificate with its chain, key)."""
        key, request, certificate = (self.directory / f"{name}.{end}" for end in ("key", "csr", "crt"))
        self._key(key, kind)
        openssl("req", "-new", "-utf8", "-key", key, "-subj", subject or f"/CN={name}", "-config", self.config, "-out", request)
        extensions = "basicConstraints=CA:false\n"
        if names:
            extensions += "subjectAltName=" + ",".join(f"{'IP' if n[0].isdigit() else 'DNS'}:{n}" for n in names) + "\n"
        self.sign(request, certificate, extensions, **dates)
        chain = self.directory / f"{name}.pem"
        chain.write_text(certificate.read_text() + (self.certificate.read_text() if self.issuer else ""))
        return chain, key

    def revoke(self, name):
        openssl("ca", "-config", self.config, "-revoke", self.directory / f"{name}.crt")

    def revocation_list(self, seconds=30 * DAY):
        """Its revocation list (PEM text)."""
        path = self.directory / "crl.pem"
        openssl("ca", "-config", self.config, "-gencrl", "-crlsec", seconds, "-out", path)
        return path.read_text()
