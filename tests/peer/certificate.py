"""Certificates for tests, made by openssl."""

import subprocess


def self_signed(certificate, key, name="localhost", alternative=None, days=2):
    """Writes the two files, PEM: a certificate of that name, for so many days, and its key. `alternative`: the
    subjectAltName, as openssl writes it."""
    extension = [] if alternative is None else ["-addext", f"subjectAltName={alternative}"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", str(days), "-subj", f"/CN={name}", *extension, "-keyout", key, "-out", certificate],
                   check=True, stderr=subprocess.DEVNULL)
