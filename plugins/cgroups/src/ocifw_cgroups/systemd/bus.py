"""Speaking with systemd over D-Bus (org.freedesktop.systemd1(5)), by jeepney."""

from __future__ import annotations

import os
import socket

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection

from ocifw.errors import OcifwError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
PATIENCE_S = 30.0

UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"

_MANAGER = DBusAddress(
    "/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
)
# Without the sender: what arrives names the connection, not the name it owns.
_JOB_REMOVED = MatchRule(
    type="signal",
    interface=_MANAGER.interface,
    member="JobRemoved",
    path=_MANAGER.object_path,
)


class BusError(OcifwError):
    """What systemd answered instead. name: of the D-Bus error."""

    def __init__(self, what: str, name: str, text: str) -> None:
        super().__init__(f"systemd: {what}: {text}")
        self.name = name


class _Connection(DBusConnection):  # type: ignore[misc]  # jeepney has no types
    """A connection that never waits for ever: not for the bus's greeting either, for which no time can be given."""

    def receive(self, *, timeout: float | None = None) -> Any:
        return super().receive(timeout=PATIENCE_S if timeout is None else timeout)


class Manager:
    """systemd, for the time of a `with`: the system's, or with `user` the user's own."""

    def __init__(self, user: bool = False) -> None:
        """Raises OcifwError when the bus cannot be reached."""
        self._subscribed = False
        address = user_bus() if user else os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS
        try:
            self._connection = _greeted(_connect(address))
        except (OSError, EOFError) as error:
            raise OcifwError(f"cannot reach systemd over D-Bus: {address}: {error}") from error

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def version(self) -> int:
        """The number in systemd's version: 257 of `257.4-1~deb13u1`."""
        text = str(self.get("Version")).lstrip("v")
        digits = text[: next((i for i, c in enumerate(text) if not c.isdigit()), len(text))]
        return int(digits or 0)

    def control_group(self) -> str:
        """The cgroup below which this systemd makes its own: "" is the root."""
        return str(self.get("ControlGroup")).removesuffix("/init.scope").rstrip("/")

    def get(self, name: str) -> Any:
        """A property of the manager."""
        address = _MANAGER.with_interface("org.freedesktop.DBus.Properties")
        [(_, value)] = self._call("Get", "ss", (_MANAGER.interface, name), address)
        return value

    def start_transient_unit(
        self, name: str, properties: Sequence[tuple[str, tuple[str, Any]]]
    ) -> None:
        """Make a unit and wait until it is started. BusError(UNIT_EXISTS): there is one of this name."""
        self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "replace", properties, []), name)

    def stop_unit(self, name: str) -> None:
        """Stop a unit and wait for it. BusError(NO_SUCH_UNIT): it is gone."""
        self._job("StopUnit", "ss", (name, "replace"), name)

    def reset_failed_unit(self, name: str) -> None:
        """Let systemd forget a unit that failed."""
        self._call("ResetFailedUnit", "s", (name,))

    def set_unit_properties(
        self, name: str, properties: Sequence[tuple[str, tuple[str, Any]]]
    ) -> None:
        """Change properties until the next boot."""
        self._call("SetUnitProperties", "sba(sv)", (name, True, properties))

    def _job(self, method: str, signature: str, body: tuple[Any, ...], unit: str) -> None:
        """A method that starts a job; returns when that is done. Raises OcifwError when it fails, or takes too long."""
        self._subscribe()
        with self._connection.filter(_JOB_REMOVED, bufsize=1000) as removed:
            [job] = self._call(method, signature, body)
            try:
                while True:
                    message = self._connection.recv_until_filtered(removed, timeout=PATIENCE_S)
                    _, path, _, result = message.body
                    if path == job:
                        break
            except TimeoutError:
                raise OcifwError(f"timeout waiting for systemd: {method} {unit}") from None
        if result != "done":
            raise OcifwError(
                f"systemd: {method} {unit}: the job ended with {result}: see `systemctl status {unit}`"
            )

    def _subscribe(self) -> None:
        """Let systemd tell when jobs end: once for a connection, it refuses a second time."""
        if not self._subscribed:
            match = message_bus.AddMatch(_JOB_REMOVED)
            self._connection.send_and_get_reply(match, timeout=PATIENCE_S)
            self._call("Subscribe", "", ())
            self._subscribed = True

    def _call(
        self, method: str, signature: str, body: tuple[Any, ...], address: DBusAddress = _MANAGER
    ) -> Any:
        message = new_method_call(address, method, signature or None, body)
        try:
            reply = self._connection.send_and_get_reply(message, timeout=PATIENCE_S)
        except TimeoutError:
            raise OcifwError(f"timeout waiting for systemd: {method}") from None
        if reply.header.message_type == MessageType.error:
            name = str(reply.header.fields.get(HeaderFields.error_name))
            what = " ".join([method, *[word for word in body[:1] if isinstance(word, str)]])
            raise BusError(what, name, str(reply.body[0]) if reply.body else name)
        return reply.body


def user_bus() -> str:
    """The address of the user's bus. Raises OcifwError when nothing tells it."""
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if folder:
        return f"unix:path={folder}/bus"
    raise OcifwError(
        "the bus of the user's systemd is not known: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"
    )


def _greeted(connection: socket.socket) -> _Connection:
    """The connection once the bus has given it a name; otherwise it is closed."""
    try:
        return _Connection(connection)
    except BaseException:
        connection.close()
        raise


def _connect(addresses: str) -> socket.socket:
    """A socket of the bus, authenticated: the first of the addresses `unix:path=…;…` that answers."""
    error: OSError = ConnectionError(f"no address of a unix socket in {addresses!r}")
    for address in addresses.split(";"):
        transport, _, rest = address.partition(":")
        options = dict(pair.partition("=")[::2] for pair in rest.split(","))
        name = options.get("path") or "\0" * ("abstract" in options) + options.get("abstract", "")
        if transport != "unix" or not name:
            continue
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(PATIENCE_S)
        try:
            connection.connect(name)
            _authenticate(connection)
            return connection
        except OSError as failure:
            connection.close()
            error = failure
    raise error


def _authenticate(connection: socket.socket) -> None:
    """EXTERNAL without an identity: the bus takes that of the socket, which a user namespace does not change."""
    connection.sendall(b"\0AUTH EXTERNAL\r\n")
    answers = iter(lambda: _line(connection), b"")
    for answer in answers:
        if answer == b"DATA":
            connection.sendall(b"DATA\r\n")
        elif answer.startswith(b"OK"):
            connection.sendall(b"BEGIN\r\n")
            return
        else:
            raise ConnectionError(f"the bus refuses: {answer.decode(errors='replace')}")
    raise ConnectionError("the bus closed the connection")


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        line += byte
    return line[:-2]
