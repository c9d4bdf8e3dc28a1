/* The `ocifw` command: finds the interpreter and the package it was installed with, and starts them isolated.
 *
 *     PYTHON -I -S -B [-X disable-remote-debug] .../ocifw/__main__.py ARGV0 ARGUMENT...
 *
 * ARGV0 is the name under which this program was called, so that the package knows it (`ocifw-hardened`). A script
 * with #! could neither follow the folder it lies in nor pass more than one argument to the interpreter. Neither
 * PATH nor the working directory (the bundle's, often) nor a PYTHON* variable has a say in what is started.
 *
 * PYTHON_MINOR is the minor version of the Python 3 for which ocifw was installed. No libc: linked with init/string.c.
 */

#include "init/init.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define PYTHON "python3." TEXT(PYTHON_MINOR)

/* Relative to the folder above the one that holds this program: PREFIX/bin/ocifw. */
static const char packages[][48] = {
    "/lib/" PYTHON "/site-packages/ocifw",       /* venv, --user, built from source */
    "/lib/" PYTHON "/dist-packages/ocifw",       /* Debian's pip, in /usr/local */
    "/lib/python3/dist-packages/ocifw",          /* a Debian package */
    "/local/lib/" PYTHON "/dist-packages/ocifw", /* a distribution's command, a local package */
};

static const char options[][24] = {
    "-I", /* isolated: no environment, no user site, nothing from the working directory */
    "-S", /* no site: a third of the start-up time, and code of every installed .pth file */
    "-B", /* never write bytecode: installing did */
#if PYTHON_MINOR >= 14
    "-X", "disable-remote-debug", /* no code from outside by sys.remote_exec() */
#endif
};

enum {
    OPTIONS = sizeof options / sizeof options[0],
    PACKAGES = sizeof packages / sizeof packages[0],
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
            put(&package, "/__main__.py");
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

    const char *started[1 + OPTIONS + 2 + count + 1];
    const char **next = started + 1;
    for (int i = 0; i < OPTIONS; i++)
        *next++ = options[i];
    *next++ = package.text;
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
