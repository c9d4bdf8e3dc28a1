/* ocifw.linux._kernel: what Python's os lacks, in the stable ABI: system calls by number, spawning ocifw-init, and
 * messages with file descriptors without importing _socket.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Newer than the oldest headers we build with; from 424 on, numbers are the same on every architecture. */
enum {
    NR_clone3 = 435,
    NR_close_range = 436,
    CLOSE_RANGE_CLOEXEC_ = 4,
    SIGNALS = 64,
    STACK_SIZE = 32768,
    MESSAGE_FDS = 253,
    FD_LIMIT = 65536,
};

#define CLONE_INTO_CGROUP_ 0x200000000ull

/* ---- syscall ---- */

enum { ARGUMENTS = 6 };

/* One argument as the register's value. A buffer is exported into `view`, for the caller to release. */
static int convert(PyObject *object, long *value, Py_buffer *view) {
    view->obj = NULL;
    if (object == Py_None) {
        *value = 0;
        return 0;
    }
    if (PyLong_Check(object)) {
        int overflow;
        *value = PyLong_AsLongAndOverflow(object, &overflow);
        if (overflow > 0)
            *value = (long)PyLong_AsUnsignedLong(object);
        else if (overflow < 0)
            PyErr_SetString(PyExc_OverflowError, "number below -2**63");
        return PyErr_Occurred() ? -1 : 0;
    }
    if (PyObject_GetBuffer(object, view, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0)
            return -1;
    }
    *value = (long)(uintptr_t)view->buf;
    return 0;
}

static PyObject *kernel_syscall(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    (void)module;
    if (count < 1 || count > 1 + ARGUMENTS) {
        PyErr_SetString(PyExc_TypeError, "syscall takes a number and up to six arguments");
        return NULL;
    }
    long nr = PyLong_AsLong(args[0]);
    if (nr == -1 && PyErr_Occurred())
        return NULL;
    long values[ARGUMENTS] = {0};
    Py_buffer views[ARGUMENTS];
    Py_ssize_t converted = 0;
    long result = -1;
    int error = 0;
    while (converted < count - 1 && convert(args[1 + converted], &values[converted], &views[converted]) == 0)
        converted++;
    if (converted == count - 1) {
        Py_BEGIN_ALLOW_THREADS
        result = syscall(nr, values[0], values[1], values[2], values[3], values[4], values[5]);
        error = errno;
        Py_END_ALLOW_THREADS
    }
    int complete = converted == count - 1;
    while (converted-- > 0)
        if (views[converted].obj != NULL)
            PyBuffer_Release(&views[converted]);
    if (!complete)
        return NULL;
    if (result == -1) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(result);
}

static PyObject *kernel_address(PyObject *module, PyObject *object) {
    (void)module;
    Py_buffer view;
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *address = PyLong_FromVoidPtr(view.buf);
    PyBuffer_Release(&view);
    return address;
}

/* ---- spawn ---- */

struct spawn {
    int init, baton, preserve_fds;
    int streams[3];
    int error;
};

/* struct clone_args of linux/sched.h as of Linux 5.7. */
struct clone_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

struct directory_entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

/* For kernels before 5.9. The child has the host's /proc and its own copy of the descriptors. */
static void cloexec_one_by_one(int first) {
    char entries[4096] __attribute__((aligned(8)));
    int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long size = -1;
    while (directory >= 0 && (size = syscall(SYS_getdents64, directory, entries, sizeof entries)) > 0)
        for (long at = 0; at < size;) {
            const struct directory_entry *entry = (const void *)(entries + at);
            int fd = 0;
            for (const char *digit = entry->name; *digit >= '0' && *digit <= '9'; digit++)
                fd = fd * 10 + (*digit - '0');
            if (fd >= first)
                fcntl(fd, F_SETFD, FD_CLOEXEC);
            at += entry->size;
        }
    if (size < 0)
        for (int fd = first; fd < FD_LIMIT; fd++)
            fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* A number that is not negative as text, which ends at `end`. */
static char *decimal(int number, char *end) {
    *--end = 0;
    do
        *--end = (char)('0' + number % 10);
    while (number /= 10);
    return end;
}

/* In the child: make 0 to 2 what the caller gave for them. All are copied away first: any of them may be 0 to 2. */
static int set_streams(struct spawn *spawn, int first) {
    int copies[3];
    if (spawn->streams[0] < 0 && spawn->streams[1] < 0 && spawn->streams[2] < 0)
        return 0;
    spawn->init = fcntl(spawn->init, F_DUPFD_CLOEXEC, first);
    if (spawn->init < 0)
        return -1;
    for (int fd = 0; fd < 3; fd++)
        if (spawn->streams[fd] >= 0 && (copies[fd] = fcntl(spawn->streams[fd], F_DUPFD_CLOEXEC, first)) < 0)
            return -1;
    for (int fd = 0; fd < 3; fd++)
        if (spawn->streams[fd] >= 0 && dup2(copies[fd], fd) < 0)
            return -1;
    return 0;
}

/* In the child: shares the memory of a process that may have many threads, so nothing but system calls. */
static int become_init(void *argument) {
    struct spawn *spawn = argument;
    /* execve(2) resets handlers but keeps what is ignored, and Python ignores SIGPIPE and SIGXFSZ. Before the mask
     * is cleared: else the runtime's handlers could run here, in its memory. The layout of struct sigaction differs
     * between architectures, but all zeros is SIG_DFL in each. */
    static const char by_default[64];
    for (int signal = 1; signal <= SIGNALS; signal++)
        syscall(SYS_rt_sigaction, signal, by_default, NULL, SIGNALS / 8);
    uint64_t none = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, SIGNALS / 8);

    int first = 3 + spawn->preserve_fds;
    if (syscall(NR_close_range, first, ~0u, CLOSE_RANGE_CLOEXEC_) < 0)
        cloexec_one_by_one(first);
    int baton = fcntl(spawn->baton, F_DUPFD, first);
    if (baton >= 0 && set_streams(spawn, first) == 0) {
        char text[12], path[32] = "/proc/self/fd/";
        char *argv[] = {"ocifw-init", decimal(baton, text + sizeof text), NULL};
        char *envp[] = {NULL};
        syscall(SYS_execveat, spawn->init, "", argv, envp, AT_EMPTY_PATH);
        if (errno == ENOENT || errno == ENOSYS) {
            /* Where system calls are emulated (valgrind), what is in memory may have no name to be executed by. */
            char fd[12];
            strcat(path, decimal(spawn->init, fd + sizeof fd));
            syscall(SYS_execve, path, argv, envp);
        }
    }
    spawn->error = errno;
    _exit(127);
}

/* clone(2) as above, straight into the cgroup v2 whose folder is open as `cgroup`; -1 and errno as clone(). The C
 * library has no function for it: clone3(2) returns twice, and the child may not go on with a frame of the parent's. */
static int clone_into(int (*function)(void *), char *stack, void *argument, int cgroup) {
    struct clone_arguments arguments = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP_,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)stack,
        .stack_size = STACK_SIZE,
        .cgroup = (uint64_t)cgroup,
    };
#if defined(__x86_64__)
    long result = NR_clone3;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %[argument], %%rdi\n\t"
                     "call *%[function]\n\t"
                     "ud2\n"
                     "1:"
                     : "+a"(result)
                     : "D"(&arguments), "S"(sizeof arguments), [function] "r"(function), [argument] "r"(argument)
                     : "rcx", "r11", "memory", "cc");
#elif defined(__aarch64__)
    register long number __asm__("x8") = NR_clone3;
    register long result __asm__("x0") = (long)&arguments;
    register long size __asm__("x1") = sizeof arguments;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, %[argument]\n\t"
                     "blr %[function]\n\t"
                     "brk 1\n"
                     "1:"
                     : "+r"(result)
                     : "r"(number), "r"(size), [function] "r"(function), [argument] "r"(argument)
                     : "memory", "cc");
#else
    (void)function, (void)argument, (void)arguments;
    long result = -ENOSYS;
#endif
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return (int)result;
}

static PyObject *kernel_spawn(PyObject *module, PyObject *args) {
    (void)module;
    struct spawn spawn = {.streams = {-1, -1, -1}};
    int cgroup = -1;
    if (!PyArg_ParseTuple(args, "ii|iiiii", &spawn.init, &spawn.baton, &spawn.preserve_fds, &cgroup, &spawn.streams[0],
                          &spawn.streams[1], &spawn.streams[2]))
        return NULL;
    if (spawn.preserve_fds < 0 || spawn.preserve_fds > FD_LIMIT) {
        PyErr_SetString(PyExc_ValueError, "preserve_fds must be a number from 0 to 65536");
        return NULL;
    }
    char stack[STACK_SIZE] __attribute__((aligned(16)));
    uint64_t all = ~(uint64_t)0, before;
    int pid, error;
    Py_BEGIN_ALLOW_THREADS
    /* By the system call: the C library's functions leave out the signals that it uses itself. */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, SIGNALS / 8);
    if (cgroup >= 0)
        pid = clone_into(become_init, stack, &spawn, cgroup);
    else
        pid = clone(become_init, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &spawn);
    error = pid < 0 ? errno : spawn.error;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, SIGNALS / 8);
    if (pid > 0 && error != 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    Py_END_ALLOW_THREADS
    if (error != 0) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(pid);
}

/* ---- messages ---- */

union control {
    struct cmsghdr head;
    char space[CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
};

static PyObject *kernel_send_message(PyObject *module, PyObject *args) {
    (void)module;
    int fd;
    const char *data;
    Py_ssize_t size;
    PyObject *fds = NULL;
    if (!PyArg_ParseTuple(args, "iy#|O", &fd, &data, &size, &fds))
        return NULL;
    union control control;
    struct iovec part = {(void *)data, (size_t)size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    Py_ssize_t count = fds ? PySequence_Size(fds) : 0;
    if (count < 0)
        return NULL;
    if (count > MESSAGE_FDS) {
        PyErr_SetString(PyExc_ValueError, "more than 253 file descriptors in one message");
        return NULL;
    }
    if (count > 0) {
        memset(&control, 0, sizeof control);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        int *out = (int *)(void *)CMSG_DATA(&control.head);
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *item = PySequence_GetItem(fds, i);
            if (item == NULL)
                return NULL;
            out[i] = (int)PyLong_AsLong(item);
            Py_DecRef(item);
            if (PyErr_Occurred())
                return NULL;
        }
    }
    for (;;) {
        ssize_t sent;
        int error;
        Py_BEGIN_ALLOW_THREADS
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        error = errno;
        Py_END_ALLOW_THREADS
        if (sent >= 0)
            return PyLong_FromSsize_t(sent);
        errno = error;
        if (error != EINTR)
            return PyErr_SetFromErrno(PyExc_OSError);
        if (PyErr_CheckSignals() < 0)
            return NULL;
    }
}

static PyObject *received(const struct msghdr *message, const char *data, ssize_t size) {
    PyObject *fds = PyList_New(0);
    int failed = fds == NULL;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR((struct msghdr *)message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        const int *in = (const int *)(const void *)CMSG_DATA(head);
        for (size_t i = 0; i < (head->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            PyObject *fd = failed ? NULL : PyLong_FromLong(in[i]);
            failed = fd == NULL || PyList_Append(fds, fd) < 0;
            Py_DecRef(fd);
            if (failed)
                close(in[i]);
        }
    }
    PyObject *result = failed ? NULL : Py_BuildValue("(y#O)", data, (Py_ssize_t)size, fds);
    Py_DecRef(fds);
    return result;
}

static PyObject *kernel_receive_message(PyObject *module, PyObject *args) {
    (void)module;
    int fd, flags = 0;
    Py_ssize_t limit;
    if (!PyArg_ParseTuple(args, "in|i", &fd, &limit, &flags))
        return NULL;
    if (limit < 0 || limit > 1 << 20) {
        PyErr_SetString(PyExc_ValueError, "limit must be a number of bytes from 0 to 2**20");
        return NULL;
    }
    char *data = PyMem_Malloc((size_t)limit + 1);
    if (data == NULL)
        return PyErr_NoMemory();
    union control control;
    PyObject *result = NULL;
    for (;;) {
        struct iovec part = {data, (size_t)limit};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t size;
        int error;
        Py_BEGIN_ALLOW_THREADS
        size = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
        error = errno;
        Py_END_ALLOW_THREADS
        if (size >= 0) {
            result = received(&message, data, size);
            break;
        }
        errno = error;
        if (error != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            break;
        }
        if (PyErr_CheckSignals() < 0)
            break;
    }
    PyMem_Free(data);
    return result;
}

/* ---- the module ---- */

struct number {
    const char *name;
    long nr;
};

#define KNOWN(name) {#name, SYS_##name}

static const struct number numbers[] = {
    KNOWN(accept4),
    KNOWN(add_key),
    KNOWN(bind),
    KNOWN(bpf),
    KNOWN(capget),
    KNOWN(chroot),
    KNOWN(connect),
    KNOWN(flock),
    KNOWN(fstatfs),
    KNOWN(getsockopt),
    KNOWN(ioctl),
    KNOWN(ioprio_get),
    KNOWN(ioprio_set),
    KNOWN(keyctl),
    KNOWN(listen),
    KNOWN(memfd_create),
    KNOWN(mount),
    KNOWN(personality),
    KNOWN(pivot_root),
    KNOWN(prctl),
    KNOWN(prlimit64),
    KNOWN(renameat2),
    KNOWN(sched_getattr),
    KNOWN(sched_setattr),
    KNOWN(seccomp),
    KNOWN(setns),
    KNOWN(setsockopt),
    KNOWN(shutdown),
    KNOWN(signalfd4),
    KNOWN(socket),
    KNOWN(socketpair),
    KNOWN(statx),
    KNOWN(umount2),
    KNOWN(unshare),
    {"pidfd_send_signal", 424},
    {"open_tree", 428},
    {"move_mount", 429},
    {"fsopen", 430},
    {"fsconfig", 431},
    {"fsmount", 432},
    {"fspick", 433},
    {"pidfd_open", 434},
    {"clone3", 435},
    {"close_range", 436},
    {"openat2", 437},
    {"pidfd_getfd", 438},
    {"faccessat2", 439},
    {"mount_setattr", 442},
    {"statmount", 457},
    {"listmount", 458},
};

static int fill(PyObject *module) {
    PyObject *table = PyDict_New();
    if (table == NULL)
        return -1;
    int failed = 0;
    for (size_t i = 0; !failed && i < sizeof numbers / sizeof numbers[0]; i++) {
        PyObject *nr = PyLong_FromLong(numbers[i].nr);
        failed = nr == NULL || PyDict_SetItemString(table, numbers[i].name, nr) < 0;
        Py_DecRef(nr);
    }
    failed = failed || PyModule_AddObjectRef(module, "numbers", table) < 0;
    Py_DecRef(table);
    return failed ? -1 : 0;
}

PyDoc_STRVAR(syscall_doc, "syscall(nr, *args)\n--\n\n"
                          "Call the kernel with up to six arguments: int, None (0), bytes or a buffer (its address).\n\n"
                          "A negative result is raised as OSError; EINTR too. Other threads run meanwhile.");
PyDoc_STRVAR(address_doc, "address(buffer)\n--\n\n"
                          "Where the content of a buffer lies, for a structure that points to it. Valid as long as the buffer\n"
                          "is there and keeps its size; the caller sees to that.");
PyDoc_STRVAR(spawn_doc,
             "spawn(init, baton, preserve_fds=0, cgroup=-1, stdin=-1, stdout=-1, stderr=-1)\n--\n\n"
             "Start the program behind the file descriptor `init` as `ocifw-init BATON`; returns its pid.\n\n"
             "It starts with an empty environment and signal mask, every signal at its default, and of the file\n"
             "descriptors 0 to 2, the baton, and 3 to 2+preserve_fds: those keep their close-on-exec flag as it is,\n"
             "so that only what was itself inherited is passed on, never what was opened here since. Safe in a\n"
             "process with threads, and does not copy its page tables. Raises OSError when it cannot be executed.\n\n"
             "cgroup: the open folder of a cgroup v2 that it is born in (CLONE_INTO_CGROUP, Linux 5.7), without the\n"
             "wait for an RCU grace period that moving there takes. OSError, and nothing was started, where it cannot.\n\n"
             "stdin, stdout, stderr: file descriptors that become 0 to 2 there; -1 leaves the caller's own.");
PyDoc_STRVAR(send_doc, "send_message(fd, data, fds=())\n--\n\n"
                       "sendmsg(2) of one message with up to 253 file descriptors; never raises SIGPIPE.");
PyDoc_STRVAR(receive_doc, "receive_message(fd, limit, flags=0)\n--\n\n"
                          "recvmsg(2): the message, cut at `limit` bytes, and the file descriptors that came with it,\n"
                          "close-on-exec, which the caller owns. b\"\" at the end of the file.");

static PyMethodDef methods[] = {
    {"syscall", (PyCFunction)(void (*)(void))kernel_syscall, METH_FASTCALL, syscall_doc},
    {"address", kernel_address, METH_O, address_doc},
    {"spawn", kernel_spawn, METH_VARARGS, spawn_doc},
    {"send_message", kernel_send_message, METH_VARARGS, send_doc},
    {"receive_message", kernel_receive_message, METH_VARARGS, receive_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)fill},
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "ocifw.linux._kernel",
    .m_doc = "System calls that Python's os lacks.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernel(void) {
    return PyModuleDef_Init(&definition);
}
