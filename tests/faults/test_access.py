# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may read over HTTP: TLS and passwords, in the format of Prometheus and its exporters; Unix sockets."""

import grp
import os
import signal
import stat
import subprocess
import sys

from simhost import MIGPOLICYD, PATIENCE_S, Host, calm

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


# As systemd starts a service that has a socket: listening, as descriptor 3.
SYSTEMD = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def read_at(path, user=None):
    """What is served there, to a user or to who runs this; "" if it may not be opened."""
    command = ["curl", "-s", "-m", str(PATIENCE_S), "--unix-socket", path, "http://host/metrics"]
    return subprocess.run(command, capture_output=True, text=True, user=user).stdout


def group_of_the_socket():
    try:
        return grp.getgrnam("migpolicy").gr_gid
    except KeyError:
        return None


def test_a_unix_socket_is_for_root_and_the_group(tmp_path):
    path = tmp_path / "http"
    group = group_of_the_socket()
    with Host([calm("vm", start="1h")], [], listen=f"unix:{path}") as host:
        assert f"metrics at unix:{path}" in host.log()
        assert "migpolicy_build_info" in read_at(path)
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == (0o600 if group is None else 0o660)
        assert found.st_uid == os.geteuid() and group in (None, found.st_gid)
        if os.geteuid() == 0:
            tmp_path.chmod(0o755)
            assert read_at(path, user=65534) == ""
        assert host.stop() == 0
    assert not path.exists()


def test_the_unix_socket_of_a_dead_agent_is_taken_over_and_one_in_use_is_not(tmp_path):
    path = tmp_path / "http"
    with Host([calm("vm", start="1h")], [], listen=f"unix:{path}") as host:
        host.process.send_signal(signal.SIGKILL)
        host.process.wait()
    assert path.exists()
    with Host([calm("vm", start="1h")], [], listen=f"unix:{path}") as host:
        done = subprocess.run(
            [MIGPOLICYD, "--connect", f"sim:{host.dir}/scenario.json", "--config", host.dir / "migpolicyd.json",
             "--state-dir", tmp_path / "state", "--run-dir", tmp_path / "run", "--metrics-listen", f"unix:{path}"],
            capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 1 and f'cannot listen on "unix:{path}"' in done.stderr
        assert "migpolicy_build_info" in read_at(path)


def test_a_socket_that_systemd_passes_takes_the_place_of_metrics_listen(tmp_path):
    path = tmp_path / "http"
    with Host([calm("vm", start="1h")], [], wrapper=[sys.executable, "-c", SYSTEMD, path]) as host:
        assert "metrics at systemd's socket" in host.log() and host.port is None
        assert "migpolicy_build_info" in read_at(path)
        assert host.stop() == 0
    assert path.exists(), "it is not the daemon's to remove"
