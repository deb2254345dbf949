# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may read over HTTP: TLS and passwords, in the format of Prometheus and its exporters."""

import subprocess

from simhost import PATIENCE_S, Host, calm

# Of "secret" and of "other".
SECRET = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
OTHER = "$2y$04$abcdefghijklmnopqrstuu0HtfOlPbTiymk5tcV.3TsFPDd3SYZqu"


def make_certificate(directory, name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"],
        check=True, capture_output=True)
    (directory / f"{name}.key").chmod(0o600)


def write(directory, certificate, users, key=None):
    (directory / "web.yml").write_text(
        f"tls_server_config:\n  cert_file: {certificate}.crt\n  key_file: {key or certificate}.key\n"
        "basic_auth_users:\n" + "".join(f"  {name}: {hashed}\n" for name, hashed in users.items()))


def get(host, directory, certificate, user, *options):
    """The status, or 0 if there was no connection."""
    done = subprocess.run(
        ["curl", "-sS", "-m", str(PATIENCE_S), "--cacert", directory / f"{certificate}.crt", "-u", user, *options,
         "-o", directory / "out", "-w", "%{http_code}", f"https://127.0.0.1:{host.port}/metrics"],
        capture_output=True, text=True)
    return int(done.stdout or 0)


def test_metrics_are_encrypted_and_for_who_has_a_password_until_a_reload_says_otherwise(tmp_path):
    make_certificate(tmp_path, "first")
    make_certificate(tmp_path, "second")
    write(tmp_path, "first", {"one": SECRET})
    with Host([calm("vm", start="1h")], [], config={"web_config": f"{tmp_path}/web.yml"}) as host:
        assert "over TLS, for who has a password" in host.log()
        assert get(host, tmp_path, "first", "one:secret", "--compressed") == 200
        assert "migpolicy_build_info" in (tmp_path / "out").read_text()
        assert get(host, tmp_path, "first", "one:other") == 401
        assert get(host, tmp_path, "second", "one:secret") == 0
        assert get(host, tmp_path, "first", "one:secret", "--tls-max", "1.1") == 0

        # A key of another certificate: all stays as it was.
        write(tmp_path, "first", {"two": OTHER}, key="second")
        done = host.tried("reload")
        assert done.returncode != 0 and "cert_file first.crt and key_file second.key" in done.stderr
        assert get(host, tmp_path, "first", "one:secret") == 200

        write(tmp_path, "second", {"two": OTHER})
        host.command("reload")
        assert get(host, tmp_path, "second", "two:other") == 200
        assert get(host, tmp_path, "second", "one:secret") == 401
        assert host.stop() == 0
