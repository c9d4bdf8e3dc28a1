"""`hardened` lets services do what they are for, started as root like their images, in Debian's own packages of them."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def hardened(runtime, service, script):
    """What a script writes in a container with the profile. It is under a filter, and cannot get new privileges."""
    service.sh(f"grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status >&2\n{script}")
    done = runtime.run(service, "--profile", "hardened")
    assert "Seccomp:\t2" in done.err and "NoNewPrivs:\t1" in done.err
    return done.out


def test_debian(runtime, service):
    """Debian's own programs: another user, archives, packages' database, a pipeline."""
    script = (
        "cat /etc/debian_version | grep -c ^13; setpriv --reuid nobody --clear-groups id -un\n"
        "tar -C /etc -cf /tmp/a.tar passwd; mkdir /tmp/x; tar -C /tmp/x -xf /tmp/a.tar; chown nobody /tmp/x/passwd\n"
        "stat -c %U /tmp/x/passwd; dpkg-query -W -f '${Status}\\n' dpkg; perl -e 'print 6 * 7, \"\\n\"'"
    )
    assert hardened(runtime, service, script).split("\n") == [
        "1", "nobody", "nobody", "install ok installed", "42", "",
    ]  # fmt: skip


def test_python(runtime, service):
    """Python with threads, processes, a server on a port below 1024 and another user."""
    script = (
        "exec python3 -c '\n"
        "import http.server, multiprocessing, os, threading, urllib.request\n"
        'server = http.server.HTTPServer(("127.0.0.1", 80), http.server.SimpleHTTPRequestHandler)\n'
        "os.setgid(65534); os.setuid(65534)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        'print(urllib.request.urlopen("http://127.0.0.1/etc/passwd").status, os.getuid())\n'
        'print(multiprocessing.get_context("fork").Pool(2).map(abs, [-1, -2]))\''
    )
    assert hardened(runtime, service, script) == "200 65534\n[1, 2]\n"


def test_nginx(runtime, service):
    """nginx with Debian's own configuration: binds port 80, its workers become www-data, it answers, reloads and stops."""
    script = (
        "mkdir /var/log/nginx; nginx -t 2>/dev/null && nginx\n"
        'ask() { python3 -c \'import urllib.request as r; a = r.urlopen("http://127.0.0.1/")\n'
        'print(a.status, b"nginx" in a.read())\'; }\n'
        "ask; ps -C nginx -o user= | sort -u\n"
        "nginx -s reload; ask; pid=$(cat /run/nginx.pid); nginx -s quit\n"
        "while kill -0 $pid 2>/dev/null; do :; done; grep -c ' 200 ' /var/log/nginx/access.log"
    )
    out = hardened(runtime, service, script)
    assert out.split("\n") == ["200 True", "root", "www-data", "200 True", "2", ""]


def test_postgresql(runtime, service):
    """PostgreSQL: as root makes its folder, becomes postgres, makes its files, answers several clients, and stops."""
    script = (
        "export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGDATA=/var/lib/postgresql/data\n"
        "mkdir $PGDATA /run/postgresql; chown postgres:postgres $PGDATA /run/postgresql\n"
        "exec setpriv --reuid postgres --regid postgres --init-groups sh -ec '\n"
        "initdb -A trust >/dev/null\n"
        "pg_ctl -w -l /tmp/log start >/dev/null\n"
        'psql -qc "create table t as select g from generate_series(1, 1000) g; create index on t (g)"\n'
        'for n in 1 2 3; do psql -Atc "select sum(g) + $n from t" & done; wait\n'
        'pg_ctl -m fast stop >/dev/null; grep -c "database system is shut down" /tmp/log\''
    )
    out = hardened(runtime, service, script).split()
    assert sorted(out[:3]) == ["500501", "500502", "500503"] and out[3:] == ["1"]
