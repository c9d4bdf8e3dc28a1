/* The `ocifw` command with the interpreter inside: the same Python sources as behind entry.c, half the start-up time.
 *
 * Only the core of the interpreter is initialized, which can import built-in and frozen modules; boot.py finds all of
 * ocifw in its image. What is left out is most of what starting `python3` does: looking for the standard library, codecs,
 * text streams. When a module is asked for that is neither, boot.py calls complete(), and the interpreter is a whole one.
 *
 * Whatever is not as expected here (no bytecode of boot.py, another interpreter's, an older one) is left to the installed
 * interpreter, as entry.c starts it. Built for one Python 3.PYTHON_MINOR with its static library; PYTHON_MAGIC is the
 * magic number of its bytecode, which the core does not know: see build_native.py.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <marshal.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "places.h"

enum { BYTECODE_LIMIT = 1 << 20 };

/* Of the interpreter, but of no header: what init_interp_main() does for the module _signal. */
extern int _PySignal_Init(int install_signal_handlers);
PyMODINIT_FUNC PyInit__kernel(void);

static char prefix[PATH_MAX];  /* the folder above the one that holds this program */
static char package[PATH_MAX]; /* .../ocifw */
static char interpreter[PATH_MAX];

static bool readable(const char *path) {
    return faccessat(AT_FDCWD, path, R_OK, 0) == 0;
}

static bool join(char *path, const char *a, const char *b) {
    return snprintf(path, PATH_MAX, "%s%s", a, b) < PATH_MAX;
}

/* Fill in the three above. Prints why and returns false when it cannot. */
static bool find_places(void) {
    ssize_t length = readlink("/proc/self/exe", prefix, sizeof prefix - 1);
    char *last = NULL;
    if (length > 0) {
        prefix[length] = 0;
        last = strrchr(prefix, '/');
    }
    if (last == NULL) {
        fputs("ocifw: cannot find itself by /proc/self/exe (is /proc mounted?)\n", stderr);
        return false;
    }
    *last = 0;
    const char *const interpreters[] = {prefix, "/usr/bin", "/usr/local/bin"};
    for (int i = 0; i < 3 && interpreter[0] == 0; i++)
        if (!join(interpreter, interpreters[i], "/" PYTHON) || faccessat(AT_FDCWD, interpreter, X_OK, 0) < 0)
            interpreter[0] = 0;
    last = strrchr(prefix, '/');
    if (last != NULL)
        *last = 0;
    for (int i = 0; i < PACKAGES; i++) {
        char boot[PATH_MAX];
        if (join(package, prefix, packages[i]) && join(boot, package, BOOT) && readable(boot))
            return true;
    }
    fprintf(stderr, "ocifw: the Python package ocifw is not installed for " PYTHON " in %s\n", prefix);
    return false;
}

/* Start the installed interpreter, as entry.c does. Returns only when there is none. */
static void execute_interpreter(int count, char **arguments) {
    char script[PATH_MAX];
    char *started[1 + OPTIONS + 2 + count + 1];
    char **next = started;
    *next++ = interpreter;
    for (int i = 0; i < OPTIONS; i++)
        *next++ = (char *)options[i];
    *next++ = script;
    *next++ = count > 0 ? arguments[0] : "ocifw";
    for (int i = 1; i < count; i++)
        *next++ = arguments[i];
    *next = NULL;
    if (interpreter[0] != 0 && join(script, package, BOOT)) {
        execv(interpreter, started);
        perror("ocifw: cannot execute " PYTHON);
    } else {
        fputs("ocifw: " PYTHON " is not installed\n", stderr);
    }
}

/* The code of boot.py, from its bytecode; NULL without an exception when that is not there, or made from another source
 * or by another interpreter. The head of a .pyc file: magic number, flags (0: by time), time, size (PEP 552). */
static PyObject *boot_code(const char *path) {
    char boot[PATH_MAX];
    struct stat source, file;
    static uint32_t bytes[BYTECODE_LIMIT / 4];
    if (!join(boot, package, BOOT) || stat(boot, &source) < 0)
        return NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t size = fstat(fd, &file) == 0 && S_ISREG(file.st_mode) ? read(fd, bytes, sizeof bytes) : -1;
    close(fd);
    if (size <= 16 || (size_t)size == sizeof bytes || bytes[0] != PYTHON_MAGIC || bytes[1] != 0 ||
        bytes[2] != (uint32_t)source.st_mtime || bytes[3] != (uint32_t)source.st_size)
        return NULL;
    PyObject *code = PyMarshal_ReadObjectFromString((const char *)(bytes + 4), size - 16);
    if (code == NULL)
        PyErr_Clear();
    return code;
}

/* ---- the module _launcher ---- */

static PyObject *complete(PyObject *module, PyObject *nothing) {
    (void)module, (void)nothing;
    PyStatus status = _Py_InitializeMain();
    if (PyStatus_Exception(status)) {
        PyErr_Format(PyExc_ImportError, "the interpreter cannot be completed: %s", status.err_msg);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"complete", complete, METH_NOARGS, "complete()\n--\n\nInitialize what is left of the interpreter. Once."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_launcher",
    .m_methods = methods,
};

static PyObject *make_module(void) {
    return PyModuleDef_Init(&definition);
}

/* ---- the interpreter ---- */

static bool initialize(void) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config._init_main = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 1;
    config.pathconfig_warnings = 0;
    PyStatus status = Py_PreInitialize(&before);
    if (!PyStatus_Exception(status) && interpreter[0] != 0)
        /* From it, complete() finds the standard library. */
        status = PyConfig_SetBytesString(&config, &config.executable, interpreter);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return !PyStatus_Exception(status);
}

/* What initializing the core leaves out, and boot.py needs. */
static bool fill_in(int count, char **arguments, const char *script) {
    PyObject *words = PyList_New(0), *path = PyList_New(0), *io = PyImport_ImportModule("_io");
    PyObject *opener = io ? PyObject_GetAttrString(io, "open") : NULL;
    PyObject *builtins = PyEval_GetBuiltins();
    bool filled = words && path && opener && PyDict_SetItemString(builtins, "open", opener) == 0;
    for (int i = -1; filled && i < (count > 0 ? count : 1); i++) {
        PyObject *word = PyUnicode_DecodeFSDefault(i < 0 ? script : count > 0 ? arguments[i] : "ocifw");
        filled = word && PyList_Append(words, word) == 0;
        Py_XDECREF(word);
    }
    return filled && PySys_SetObject("argv", words) == 0 && PySys_SetObject("path", path) == 0 &&
           /* SIGINT raises KeyboardInterrupt, SIGPIPE and SIGXFSZ are ignored. */
           _PySignal_Init(1) == 0;
}

/* Everything but the variables of the interpreter: children of ours would heed them. */
static void drop_python_variables(void) {
    char **kept = environ;
    for (char **next = environ; *next; next++)
        if (strncmp(*next, "PYTHON", 6) != 0)
            *kept++ = *next;
    *kept = NULL;
}

int main(int count, char **arguments) {
    if (!find_places())
        return 1;
    drop_python_variables();
    char bytecode[PATH_MAX];
    /* Before anything is initialized, for the interpreter that is installed may be another one. */
    if (!join(bytecode, package, BOOT_BYTECODE) || !readable(bytecode) || interpreter[0] == 0 ||
        Py_Version >> 16 != (PY_VERSION_HEX >> 16)) {
        execute_interpreter(count, arguments);
        return 1;
    }
    if (PyImport_AppendInittab("_launcher", make_module) < 0 ||
        PyImport_AppendInittab("ocifw.linux._kernel", PyInit__kernel) < 0 || !initialize()) {
        execute_interpreter(count, arguments);
        return 1;
    }
    PyObject *code = boot_code(bytecode);
    if (code == NULL || !fill_in(count, arguments, bytecode)) {
        execute_interpreter(count, arguments);
        return 1;
    }
    PyObject *module = PyImport_AddModule("__main__");
    PyObject *file = PyUnicode_DecodeFSDefault(bytecode);
    if (module && file && PyObject_SetAttrString(module, "__file__", file) == 0) {
        PyObject *globals = PyModule_GetDict(module);
        if (PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) == 0)
            PyEval_EvalCode(code, globals, globals);
    }
    /* boot.py ends the process itself. */
    PyErr_Print();
    return 1;
}
