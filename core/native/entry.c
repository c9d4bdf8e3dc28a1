/* The `ocifw` command: finds the interpreter and the package it was installed with, and starts them isolated.
 *
 *     PYTHON -I -S -B [-X disable-remote-debug] .../ocifw/boot.py ARGV0 ARGUMENT...
 *
 * Or .../ocifw/__pycache__/boot.cpython-3xx.pyc, when it was made from the boot.py that is there now: the interpreter
 * compiles a script anew each time, which takes longer than planning a container.
 *
 * ARGV0 is the name under which this program was called, so that the package knows it (`ocifw-hardened`). A script
 * with #! could neither follow the folder it lies in nor pass more than one argument to the interpreter. Neither
 * PATH nor the working directory (the bundle's, often) nor a PYTHON* variable has a say in what is started.
 *
 * PYTHON_MINOR is the minor version of the Python 3 for which ocifw was installed. No libc: linked with init/string.c.
 */

#include "init/init.h"

#include "places.h"

enum {
    INTERPRETERS = 3,
    READABLE = 4,
};

/* Print the text as a line on standard error and end with 1. */
static _Noreturn void refuse(struct string *text) {
    put(text, "\n");
    sys_write(2, text->text, text->length);
    sys_exit(1);
}

/* Everything but the variables of the interpreter, in place: -I ignores them, but children of ours would not. */
static void drop_python_variables(char **environment) {
    char **kept = environment;
    for (; *environment; environment++)
        if (!starts_with(*environment, "PYTHON"))
            *kept++ = *environment;
    *kept = NULL;
}

/* Set `path` to `prefix` and `rest`; false when it is too long to be a path. */
static bool set_path(struct string *path, const char *prefix, const char *rest) {
    path->length = 0;
    path->cut = false;
    put(path, prefix);
    put(path, rest);
    return !path->cut;
}

/* Whether this error of execve(2) says that there is no such program, for us. */
static bool is_absent(long error) {
    return error == -ENOENT || error == -ENOTDIR || error == -EACCES;
}

/* Set `path` to that of the bytecode of boot.py in the folder `package`; false when it is not there or out of date. The
 * interpreter would check neither. The head of a .pyc file: magic number, flags (0: by time), time, size (PEP 552). */
static bool find_bytecode(struct string *path, const char *package) {
    struct statx source;
    if (!set_path(path, package, BOOT) || sys_statx(AT_FDCWD, path->text, 0, &source) < 0)
        return false;
    if (!set_path(path, package, BOOT_BYTECODE))
        return false;
    long fd = sys_open(path->text, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    u32 head[4] = {0};
    long size = sys_read((int)fd, head, sizeof head);
    sys_close((int)fd);
    return size == sizeof head && head[1] == 0 && head[2] == (u32)source.stx_mtime.seconds &&
           head[3] == (u32)source.stx_size;
}

__attribute__((used)) _Noreturn static void entry(long *stack) {
    long count = stack[0];
    char **arguments = (char **)(stack + 1);
    char **environment = arguments + count + 1;
    STRING(message, 2 * PATH_LIMIT);
    put(&message, "ocifw: ");

    char folder[PATH_LIMIT]; /* PREFIX/bin, then PREFIX */
    long length = sys_readlinkat(AT_FDCWD, "/proc/self/exe", folder, sizeof folder - 1);
    if (length <= 0) {
        put(&message, "cannot find itself by /proc/self/exe (is /proc mounted?)");
        refuse(&message);
    }
    folder[length] = 0;
    *find_last(folder, '/') = 0; /* absolute, therefore there is one */

    STRING(beside, PATH_LIMIT);
    const char *interpreters[INTERPRETERS] = {beside.text, "/usr/bin/" PYTHON, "/usr/local/bin/" PYTHON};
    if (!set_path(&beside, folder, "/" PYTHON))
        interpreters[0] = "";

    char *above = find_last(folder, '/');
    if (above)
        *above = 0;
    STRING(package, PATH_LIMIT);
    bool found = false;
    for (int i = 0; i < PACKAGES && !found; i++)
        if (set_path(&package, folder, packages[i])) {
            put(&package, BOOT);
            found = !package.cut && sys_faccessat(AT_FDCWD, package.text, READABLE) == 0;
        }
    if (!found) {
        put(&message, "the Python package ocifw is not installed for " PYTHON " in ");
        put(&message, folder);
        for (int i = 0; i < PACKAGES; i++) {
            put(&message, i ? ", " : ": looked for ");
            put(&message, packages[i] + 1);
        }
        refuse(&message);
    }
    STRING(bytecode, PATH_LIMIT);
    *find_last(package.text, '/') = 0;
    const char *script = bytecode.text;
    if (!find_bytecode(&bytecode, package.text)) {
        package.text[package.length - (sizeof BOOT - 1)] = '/';
        script = package.text;
    }

    const char *started[1 + OPTIONS + 2 + count + 1];
    const char **next = started + 1;
    for (int i = 0; i < OPTIONS; i++)
        *next++ = options[i];
    *next++ = script;
    *next++ = count > 0 ? arguments[0] : "ocifw";
    for (long i = 1; i < count; i++)
        *next++ = arguments[i];
    *next = NULL;
    drop_python_variables(environment);

    long error = 0;
    for (int i = 0; i < INTERPRETERS; i++) {
        started[0] = interpreters[i]; /* a path: the interpreter finds its standard library from it */
        error = sys(__NR_execve, interpreters[i], started, environment);
        if (!is_absent(error))
            break;
    }
    if (is_absent(error)) {
        put(&message, PYTHON " is not installed: looked for ");
        for (int i = 0; i < INTERPRETERS; i++) {
            put(&message, i ? ", " : "");
            put(&message, interpreters[i]);
        }
    } else {
        put(&message, "cannot execute " PYTHON ": errno ");
        put_number(&message, (u64)-error);
    }
    refuse(&message);
}

ENTRY(entry);
