"""`compat`: where runc breaks the specification, engines get runc's way, and `compat: spec` in a profile the other."""

from __future__ import annotations

import pytest

FOREVER = "exec sleep 1000"


@pytest.fixture
def compat(tmp_path):
    """The global option that chooses: `compat("spec")`."""

    def options(value):
        path = tmp_path / f"{value}.yaml"
        path.write_text(f"compat: {value}\n")
        path.chmod(0o600)
        return ("--profile", str(path))

    return options


def run(runtime, bundle, options, through=()):
    command = (*options, "run", "--bundle", bundle.path, runtime.id())
    return runtime(*command, through=through)


UMASK_27 = ("sh", "-c", 'umask 027; exec "$@"', "sh")


@pytest.mark.parametrize(("value", "umask"), [("runc", "0022"), ("spec", "0027")])
def test_umask(runtime, bundle, compat, value, umask):
    """config.md, User: without user.umask the caller's umask stays; runc sets 0022."""
    assert run(runtime, bundle.sh("umask"), compat(value), UMASK_27).out.strip() == umask


@pytest.mark.runc_agrees
def test_umask_by_default(runtime, bundle):
    """Without a profile, the umask is runc's."""
    assert run(runtime, bundle.sh("umask"), (), UMASK_27).out.strip() == "0022"


@pytest.mark.parametrize("value", ["runc", "spec"])
def test_a_umask_that_is_set(runtime, bundle, compat, value):
    """user.umask counts in both."""
    bundle.process["user"]["umask"] = 0o77
    assert run(runtime, bundle.sh("umask"), compat(value), UMASK_27).out.strip() == "0077"


@pytest.mark.parametrize("value", ["runc", "spec"])
def test_delete_of_a_created_container(runtime, bundle, compat, value):
    """runtime.md, Delete: of a container that is not stopped it is an error; runc deletes a created one."""
    container_id = runtime.id()
    runtime(*compat(value), "create", "--bundle", bundle.sh(FOREVER).path, container_id)
    done = runtime("delete", container_id, check=False)
    if value == "runc":
        assert done.status == 0 and runtime("list", "-q").out == ""
    else:
        assert (
            done.status == 1
            and f"cannot delete container {container_id} that is not stopped: created" in done.err
        )
        assert runtime.status(container_id) == "created"
        runtime("start", container_id)
        runtime("delete", "--force", container_id)
        assert runtime("list", "-q").out == ""


@pytest.mark.parametrize(("value", "allowed"), [("runc", True), ("spec", False)])
def test_default_devices(runtime, bundle, compat, value, allowed):
    """config-linux.md, Default Devices: tun is none of them; runc allows it to every container."""
    bundle.linux["devices"] = [{"path": "/dev/tun", "type": "c", "major": 10, "minor": 200}]
    # Who may open it learns that there is no driver, or that there is nothing to be read.
    done = run(runtime, bundle.sh("head -c 1 /dev/tun; true"), compat(value))
    assert done.err and ("Operation not permitted" in done.err) is not allowed, done
    assert run(runtime, bundle.sh("echo a >/dev/null && echo yes"), compat(value)).out == "yes\n"


@pytest.mark.parametrize("value", ["runc", "spec"])
def test_poststart(runtime, bundle, compat, tmp_path, value):
    """runtime.md, Lifecycle 9: poststart hooks run in `start`; in runc, too, since its #4347, so `compat` changes nothing."""
    log = tmp_path / "log"
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", f"echo poststart >>{log}"],
        "env": ["PATH=/bin"],
    }
    bundle.config["hooks"] = {"poststart": [hook]}
    container_id = runtime.id()
    runtime(*compat(value), "create", "--bundle", bundle.sh(FOREVER).path, container_id)
    assert not log.exists()
    runtime("start", container_id)
    assert log.read_text() == "poststart\n"
