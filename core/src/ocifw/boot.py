"""The start of the command `ocifw`: native/entry.c runs this file as a script, isolated and without `site`.

    PYTHON -I -S -B .../ocifw/boot.py ARGV0 ARGUMENT...

Half of a small command's time would go into finding some 70 modules: for each one the interpreter searches folders and
reads, checks and closes a file of its own. Therefore their bytecode also lies in one file, the *image* (`image.py` writes
it), of which a command reads what it needs. It is a cache, and trusted no further: a file that is missing or damaged, that
somebody else could have written, or that was made from other files than those that are there now is not used.

No `from __future__ import annotations` and no import of ours: at this point each would be looked for in folders. No
`import os`, which takes 1.5 ms (light/posix.py); `posix` is what it is made of.
"""

import _imp
import gc
import posix
import sys
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

    Row = tuple[str, int, int, bool, int, tuple[str, ...]]
    Bundle = tuple[int, int, tuple[str, ...]]

FORMAT = 5
HEAD_BYTES = 24
_LIMIT_BYTES = 16 << 20


class Notes:
    """What happened to caches, for the log with --debug, which is not there yet in the beginning."""

    def __init__(self) -> None:
        self.waiting: list[str] | None = []

    def append(self, text: str) -> None:
        if self.waiting is not None:
            self.waiting.append(text)
        else:
            from ocifw.log import debug

            debug(text)

    def log(self) -> None:
        """Log what has happened, and from now on everything at once."""
        waiting, self.waiting = self.waiting, None
        for text in waiting or ():
            self.append(text)


notes = Notes()


def main() -> int:
    """Run the command line of this process, called as a script. Returns the exit status."""
    # Nothing is left to collect when a command is over; looking for it takes as long as planning a container.
    gc.disable()
    name, *words = sys.argv[1:] or ["ocifw"]
    # This is .../ocifw/boot.py or .../ocifw/__pycache__/boot.cpython-311.pyc.
    here = __file__ if __file__.startswith("/") else f"{posix.getcwd()}/{__file__}"
    library = here.rpartition("/ocifw/")[0]
    # Appended, so that nothing that is installed beside ocifw can stand for a module of the standard library.
    sys.path.append(library)
    sys.modules["ocifw.boot"] = sys.modules[__name__]
    image = open_image(library)
    if image is not None:
        sys.meta_path.insert(0, image)
    if "_launcher" in sys.builtin_module_names:
        sys.meta_path.append(Completion(library))
    status = start(words, name.rpartition("/")[2])
    if image is None or image.stale:
        renew_image()
    return status


def start(words: "list[str]", name: str) -> int:
    """Run a command line. Returns the exit status."""
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            # Closed by the caller: the next file that is opened would become the container's standard input or output.
            posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)
    from ocifw.cli import main as run

    return run(words, name)


def leave(status: int) -> None:
    """End this process. Not sys.exit: taking the interpreter down costs a millisecond, and all that matters is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass
    posix._exit(status)


# ---- the cache's files --------------------------------------------------------------------------------------------


def cache_folder() -> str:
    """Where caches lie: /var/cache/ocifw for root, else below the user's own cache folder; "" when there is none."""
    # The root of a user namespace is a user of the host, and the host's files belong to nobody there.
    if posix.geteuid() == 0 and posix.stat("/var/cache").st_uid == 0:
        return "/var/cache/ocifw"
    environment: dict[bytes, bytes] = posix.environ
    base = environment.get(b"XDG_CACHE_HOME") or b""
    if not base.startswith(b"/"):
        base = environment.get(b"HOME") or b""
        if not base.startswith(b"/"):
            return ""
        base += b"/.cache"
    return base.decode("utf-8", "surrogateescape") + "/ocifw"


def read_cache(name: str, limit_bytes: int = _LIMIT_BYTES) -> bytes | None:
    """The content of one of the cache's files; None when it is not there or not to be trusted."""
    fd, file = open_cache(name, limit_bytes)
    if file is None:
        return None
    try:
        return posix.read(fd, file.st_size)
    except OSError as error:
        notes.append(f"{name} is not used: {error.strerror}")
        return None
    finally:
        posix.close(fd)


def open_cache(name: str, limit_bytes: int) -> "tuple[int, posix.stat_result | None]":
    """One of the cache's files, open for reading, and its status; None instead of this as in `read_cache`."""
    where = fd = -1
    try:
        path = cache_folder()
        if not path:
            return -1, None
        where = posix.open(
            path, posix.O_PATH | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
        )
        fd = posix.open(
            name,
            posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK,
            dir_fd=where,
        )
        file = posix.fstat(fd)
        if not is_own(posix.fstat(where), 0o040000) or not is_own(file, 0o100000):
            notes.append(f"{path}/{name} is not used: somebody else could have written it")
        elif file.st_size > limit_bytes:
            notes.append(f"{path}/{name} is not used: larger than {limit_bytes} bytes")
        else:
            found, fd = fd, -1
            return found, file
    except FileNotFoundError:
        pass
    except OSError as error:
        notes.append(f"{path}/{name} is not used: {error.strerror}")
    finally:
        for descriptor in (fd, where):
            if descriptor >= 0:
                posix.close(descriptor)
    return -1, None


def is_own(file: posix.stat_result, kind: int) -> bool:
    """Whether nobody but this user or root can have written a file (kind 0o100000) or folder (0o040000)."""
    mode = file.st_mode
    return mode & 0o170000 == kind and not mode & 0o022 and file.st_uid in (0, posix.geteuid())


def cache_name(what: str, *of: object) -> str:
    """The name of a file in the cache: one for everything that `of` differs in."""
    digest = 14695981039346656037
    for byte in repr(of).encode():
        digest = (digest ^ byte) * 1099511628211 % 2**64
    return f"{what}-{digest:016x}"


# ---- the image ------------------------------------------------------------------------------------------------------


def image_key(library: str) -> "tuple[Any, ...]":
    """What an image depends on beside the files it was made from: this interpreter, and what is installed.

    Installing, upgrading or removing a distribution changes the time of the folder it lies in.
    """
    return FORMAT, sys.version, library, posix.stat(library).st_mtime_ns


def image_name(library: str) -> str:
    """The image's name in the cache: one for each interpreter and each place that ocifw is installed in."""
    return cache_name("modules", sys.hexversion, library)


def open_image(library: str) -> "Image | None":
    """The image of the ocifw in this folder, or None."""
    name = image_name(library)
    fd, file = open_cache(name, _LIMIT_BYTES)
    if file is None:
        return None
    try:
        head = posix.read(fd, HEAD_BYTES)
        index, first, size = [int.from_bytes(head[at : at + 8], "little") for at in (0, 8, 16)]
        if len(head) < HEAD_BYTES or size != file.st_size or not index <= first <= size:
            raise ValueError("its sizes are wrong")
        # The index and the first bundle, which every command needs.
        data = posix.read(fd, first - HEAD_BYTES)
        key, rows, bundles = loads(data)  # noqa: S302 -- is_own() said whose
        if key == image_key(library):
            return Image(rows, bundles, ImageFile(name, file, index, data[index - HEAD_BYTES :]))
        notes.append(f"{name} is not used: it was made for something else")
    except (OSError, ValueError, EOFError, TypeError) as error:
        notes.append(f"{name} is not used: it is damaged: {error}")
    finally:
        posix.close(fd)
    return None


class ImageFile:
    """The bundles' code in the image's file.

    It is not kept open: where a command was started with fewer open files than it was told, a file of ours would be
    taken for one of them. Nor is it read as a whole: that takes longer than all the imports of a small command.
    """

    def __init__(self, name: str, file: "posix.stat_result", start: int, first: bytes) -> None:
        """start: where in the file the code begins. first: what is there, as far as it was read."""
        self._name = name
        self._file = file
        self._start = start
        self._first = first

    def read(self, start: int, end: int) -> bytes:
        """The code from `start` to `end`. Raises ValueError when the file is another one by now."""
        if end <= len(self._first):
            return self._first[start:end]
        fd, file = open_cache(self._name, _LIMIT_BYTES)
        try:
            known = self._file
            if file is None or (file.st_ino, file.st_mtime_ns) != (known.st_ino, known.st_mtime_ns):
                raise ValueError("it was replaced")
            return posix.pread(fd, end - start, self._start + start)
        finally:
            if fd >= 0:
                posix.close(fd)


def renew_image() -> None:
    """Write the image anew, for the next command. Whatever happens: it only costs that one time."""
    try:
        from ocifw.cache import make_folder

        # First: where there is no place for it, every command comes here, and the rest takes ten times as long.
        if make_folder():
            from ocifw.image import renew

            renew()
    except Exception as error:
        notes.append(f"no image was written: {error}")


class Image:
    """Finds and loads modules from the image: what importlib calls a meta path finder and a loader.

    importlib takes 25 µs for finding a module, even here. Most are found in 2: those that another one is known to
    import, at once or later, are made without it, so that the import finds them in `sys.modules`.

    A *bundle* is the code of modules that are needed together, marshalled together: the strings that they share are made
    once. When the first of them is imported, the others are made, too.

    stale: the file of some module is not the one that the image was made from. That module is looked for as usual.
    """

    def __init__(self, rows: "dict[str, Row]", bundles: "list[Bundle]", file: "ImageFile") -> None:
        """rows: by module name the file, its size and mtime_ns, whether it is a package, the number of the bundle that
        holds its code (-1: an extension module), and what must be made before. bundles: where in `file` the code of which
        modules lies.
        """
        self.rows = rows
        self.stale = False
        self._bundles = bundles
        self._file = file
        self._codes: dict[str, CodeType] = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> "Any":
        """importlib.abc.MetaPathFinder.find_spec"""
        row = self.rows.get(name)
        if row is None:
            return None
        file, size, mtime_ns, package, bundle, _ = row
        try:
            status = stat(file)
        except OSError:
            self.stale = True
            return None
        if status.st_size != size or status.st_mtime_ns != mtime_ns:
            notes.append(f"{file} has changed: its code in the image is not used")
            self.stale = True
            return None
        if bundle < 0:
            return _Spec(name, _Extension, origin=file)  # type: ignore[arg-type]  # duck-typed
        spec = _Spec(name, self, origin=file)  # type: ignore[arg-type]  # duck-typed
        if package:
            spec.submodule_search_locations = [file[: file.rindex("/")]]
        return spec

    def create_module(self, spec: object) -> None:
        """importlib.abc.Loader.create_module: the usual one."""

    def exec_module(self, module: "ModuleType") -> None:
        """importlib.abc.Loader.exec_module"""
        name = module.__name__
        # Not by the spec's `has_location`: then importlib wants to know where the bytecode is cached.
        module.__file__ = self.rows[name][0]
        self._execute(name, module)
        together = self._bundles[self.rows[name][4]][2]
        if name == together[0]:
            for other in together:
                if other not in modules:
                    self.make(other)

    def _execute(self, name: str, module: "ModuleType") -> None:
        for other in self.rows[name][5]:
            if other not in modules:
                self.make(other)
        exec(self.get_code(name), module.__dict__)  # noqa: S102 -- what importing is

    def make(self, name: str) -> None:
        """Import a module without importlib; not at all when that is not possible: its import will say why."""
        parent, _, own = name.rpartition(".")
        if parent and parent not in modules:
            return
        spec = self.find_spec(name)
        if spec is None or spec.loader is not self:
            return
        module = modules[name] = _Module(name)
        module.__spec__ = spec
        module.__file__ = spec.origin
        module.__loader__ = self
        if spec.submodule_search_locations is None:
            module.__package__ = parent
        else:
            module.__package__ = name
            module.__path__ = spec.submodule_search_locations
        try:
            self._execute(name, module)
        except BaseException:
            del modules[name]
            raise
        if parent:
            setattr(modules[parent], own, module)

    def get_code(self, name: str) -> "CodeType":
        """importlib.abc.InspectLoader.get_code"""
        code = self._codes.pop(name, None)
        if code is None:
            start, end, names = self._bundles[self.rows[name][4]]
            try:
                codes = loads(self._file.read(start, end))  # noqa: S302 -- is_own() said whose
            except (OSError, ValueError, EOFError, TypeError) as error:
                notes.append(f"the image is used no more for {name}: {error}")
                self.stale = True
                return self._compiled(name)
            self._codes.update(zip(names, codes))
            code = self._codes.pop(name)
        return code

    def _compiled(self, name: str) -> "CodeType":
        """The code of a module from its source: another command has renewed the image meanwhile, or it is damaged."""
        path = self.rows[name][0]
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            source = posix.read(fd, _LIMIT_BYTES)
        finally:
            posix.close(fd)
        return compile(source, path, "exec", dont_inherit=True)

    def get_filename(self, name: str) -> str:
        """importlib.abc.ExecutionLoader.get_filename"""
        return self.rows[name][0]


modules = sys.modules
stat = posix.stat
_Spec = type(sys.__spec__)
_Module = type(sys)


class _Extension:
    """Loads extension modules as importlib does, and those that the native command has built in."""

    @staticmethod
    def create_module(spec: "Any") -> "ModuleType":
        if spec.name in sys.builtin_module_names:
            return _imp.create_builtin(spec)
        return _imp.create_dynamic(spec)

    @staticmethod
    def exec_module(module: "ModuleType") -> None:
        if module.__name__ in sys.builtin_module_names:
            _imp.exec_builtin(module)
        else:
            _imp.exec_dynamic(module)


class Completion:
    """In the native command, the last of the finders: makes a whole interpreter when a module is asked for that is not
    in the image, and no built-in one. Then it leaves the search to the finders that came with it.
    """

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """importlib.abc.MetaPathFinder.find_spec"""
        sys.meta_path.remove(self)
        from _launcher import complete  # type: ignore[import-not-found]  # see native/launcher.c

        complete()
        sys.path.append(self.library)
        notes.append(f"the interpreter was completed for {name}")
        for finder in sys.meta_path:
            found = finder.find_spec(name, path, target)
            if found is not None:
                return found
        return None


if __name__ == "__main__":
    leave(main())
