/* Where the `ocifw` command looks for its package and its interpreter: entry.c and launcher.c. */

#ifndef OCIFW_PLACES_H
#define OCIFW_PLACES_H

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define PYTHON "python3." TEXT(PYTHON_MINOR)

/* Relative to the folder above the one that holds the command: PREFIX/bin/ocifw. */
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

/* Relative to the package. The second is the interpreter's compilation of the first, which it makes anew each time that
 * it is given the first; it takes as long as planning a container. */
#define BOOT "/boot.py"
#define BOOT_BYTECODE "/__pycache__/boot.cpython-3" TEXT(PYTHON_MINOR) ".pyc"

enum {
    OPTIONS = sizeof options / sizeof options[0],
    PACKAGES = sizeof packages / sizeof packages[0],
};

#endif
