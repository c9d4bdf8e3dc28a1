/* Operations around the container's program: lookup, waiting for start, execution; and the baton's. */

#include "init.h"

enum {
    X_OK = 1,
    AT_EACCESS = 0x200,
    NR_faccessat2 = 439,
    CLOSE_RANGE_CLOEXEC = 4,
    OVERFLOW_UID = 65534,
    FD_LIMIT = 65536,
};

/* ---- the baton ---- */

long op_pass_baton(struct context *context, const struct op_pass_baton *op) {
    long error = send_message(context->baton, PASS, context->step, 0, (u32)op->phase_number, NULL, 0);
    if (error < 0)
        sys_exit(1);
    receive(context, GO);
    /* From here on the files in /proc/self belong to the host's root: until now the runtime, which may have no
     * privileges on the host, had uid_map, gid_map and oom_score_adj to write. Another user's process that could
     * attach to us now would find descriptors of the host (CVE-2016-9962). */
    hide();
    return 0;
}

long op_report(struct context *context, const struct op_report *op) {
    int fd = context->baton >= 0 ? context->baton : context->channel;
    if (send_message(fd, REPORT, context->step, 0, (u32)op->phase_number, NULL, 0) < 0)
        sys_exit(1);
    return 0;
}

/* ---- lookup ---- */

/* Whether `path` can be executed: 0 or a negative errno, as Go's exec.LookPath decides it, whose errors engines know. */
static long executable(const char *path) {
    struct statx file;
    long error = sys_statx(AT_FDCWD, path, 0, &file);
    if (error < 0)
        return error;
    if ((file.stx_mode & S_IFMT) == S_IFDIR)
        return -EISDIR;
    error = sys(NR_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS);
    /* EPERM: a filter of an outer container that does not know the call (kernel 5.8). */
    if (error == -ENOSYS || error == -EPERM)
        error = sys_faccessat(AT_FDCWD, path, X_OK);
    if (error == -ENOSYS || error == -EPERM)
        error = file.stx_mode & 0111 ? 0 : -EACCES;
    return error;
}

/* Where execvp(3) and Go differ, Go wins, because runc's answers are what engines match on: a file in PATH that may
 * not be executed counts as not found, and so does one in a relative directory of PATH. */
long op_lookup_executable(struct context *context, const struct op_lookup_executable *op) {
    struct string path = {context->executable, sizeof context->executable, 0, false};
    if (find(op->name, '/') != NULL) {
        put(&path, op->name);
        long error = path.cut ? -ENAMETOOLONG : executable(path.text);
        return error < 0 ? fail(context, error, "stat", op->name) : 0;
    }
    for (const char *directory = op->search; *directory;) {
        const char *end = find(directory, ':');
        size_t length = end ? (size_t)(end - directory) : strlen(directory);
        path.length = 0;
        path.cut = false;
        put_bytes(&path, directory, length);
        put(&path, "/");
        put(&path, op->name);
        if (*directory == '/' && !path.cut && executable(path.text) == 0)
            return 0;
        directory += length + (end != NULL);
    }
    context->executable[0] = 0;
    return fail(context, -ENOENT, "lookup", op->name);
}

/* ---- start ---- */

struct peer {
    i32 pid;
    u32 uid, gid;
};

/*
 * Who may start the container? The socket lies in a folder that only its owner (and root) may enter, and that is what
 * decides. This second look keeps out a process of the container that got at the socket all the same.
 *
 * SO_PEERCRED gives the uid that connected as our user namespace sees it: in one of our own, the host's root is not
 * mapped and reads as the overflow uid, while 0 is the container's root. The owner of the socket, whom fstat(2)
 * translates in the same way, is the runtime's user that made it. So: its maker always; 0 where 0 is the host's root;
 * and in a user namespace whoever comes from outside of it.
 */
static bool may_start(const struct context *context, int listener, int connection) {
    struct peer peer;
    struct statx socket;
    u32 size = sizeof peer;
    if (sys(__NR_getsockopt, connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || sys_fstat(listener, &socket) < 0)
        return false;
    return peer.uid == socket.stx_uid || peer.uid == (context->user_namespace ? OVERFLOW_UID : 0);
}

long op_await_start(struct context *context, const struct op_await_start *op) {
    int listener = slot_fd(context, op->socket);
    if (listener < 0)
        return fail(context, listener, "", "no socket");
    hide();
    release_procfs(context);
    /* `create` is done: from now on its end means nothing. */
    if (context->baton >= 0)
        sys_close(context->baton);
    context->baton = -1;
    for (;;) {
        long connection = sys(__NR_accept4, listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection == -EINTR || connection == -ECONNABORTED)
            continue;
        if (connection < 0)
            return fail(context, connection, "accept4", "");
        /* A starter that was killed before it could be answered has not started anything: wait for the next. */
        if (may_start(context, listener, (int)connection) &&
            send_message((int)connection, PASS, context->step, 0, 0, NULL, 0) == 0) {
            context->channel = (int)connection;
            break;
        }
        sys_close((int)connection);
    }
    sys_close(listener);
    context->slot[op->socket] = 0;
    return 0;
}

/* ---- seal ---- */

/* Kernels before 5.9, and filters that refuse close_range(2), whatever errno they give. */
static void one_by_one(int first, int kept, bool close) {
    for (int fd = first; fd < FD_LIMIT; fd++)
        if (fd != kept) {
            if (close)
                sys_close(fd);
            else
                sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
}

void cloexec_from(int first) {
    if (sys(NR_close_range, first, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        one_by_one(first, -1, false);
}

long op_close_fds(struct context *context, const struct op_close_fds *op) {
    if (op->first > FD_LIMIT)
        return fail(context, -EINVAL, "close_range", "first");
    int first = (int)op->first;
    int kept = context->baton >= 0 ? context->baton : context->channel;
    long result = 0;
    if (kept < first)
        result = sys(NR_close_range, first, ~0u, 0);
    else {
        if (kept > first)
            result = sys(NR_close_range, first, kept - 1, 0);
        if (result >= 0)
            result = sys(NR_close_range, kept + 1, ~0u, 0);
    }
    if (result < 0)
        one_by_one(first, kept, true);
    return 0;
}

long op_execute(struct context *context, const struct op_execute *op) {
    if (op->args.count == 0)
        return fail(context, -EINVAL, "execve", "no arguments");
    const char *path = context->executable[0] ? context->executable : op->args.items[0];
    const void *environment = context->environment ? (const void *)context->environment : op->env.items;
    long result = sys(__NR_execve, path, op->args.items, environment);
    return fail(context, result, "execve", path);
}
