/* Operations of the intermediate process, up to and including Clone. */

#include "init.h"

enum { PR_SET_DUMPABLE = 4, JOIN_LIMIT = 16 };

long op_join_cgroup(struct context *context, const struct op_join_cgroup *op) {
    long fd = sys_open(op->path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(context, fd, "open", op->path);
    long written = sys_write((int)fd, "0", 1);
    sys_close((int)fd);
    return written < 0 ? fail(context, written, "write", op->path) : 0;
}

long op_set_cpu_affinity(struct context *context, const struct op_set_cpu_affinity *op) {
    long result = sys(__NR_sched_setaffinity, 0, op->mask.size, op->mask.data);
    return result < 0 ? fail(context, result, "sched_setaffinity", "") : 0;
}

/* After a user namespace was joined: its root, as far as it has one. */
static long become_mapped_root(struct context *context) {
    long result = sys(__NR_setresgid, 0, 0, 0);
    if (result < 0 && result != -EINVAL)
        return fail(context, result, "setresgid", "");
    result = sys(__NR_setresuid, 0, 0, 0);
    if (result < 0 && result != -EINVAL)
        return fail(context, result, "setresuid", "");
    /* A change of credentials resets the flag to the sysctl fs.suid_dumpable. */
    hide();
    return 0;
}

/* Namespace files are opened before the first is joined: behind a mount namespace, paths are the container's. */
static int opened[JOIN_LIMIT];

static long open_all(struct context *context) {
    const struct step *step = context->program.first;
    u64 count = 0;
    for (u64 i = 0; i < context->program.steps; i++) {
        if (step->code == OP_JOIN_NAMESPACE) {
            if (count == JOIN_LIMIT)
                return fail(context, -E2BIG, "", "more than 16 namespaces to join");
            opened[count++] = (int)sys_open(((const struct op_join_namespace *)step)->path, O_RDONLY | O_CLOEXEC);
        }
        step = (const struct step *)(const void *)((const u8 *)step + step->size);
    }
    return 0;
}

long op_join_namespace(struct context *context, const struct op_join_namespace *op) {
    static u64 next;
    if (next == 0) {
        long error = open_all(context);
        if (error < 0)
            return error;
    }
    int fd = opened[next++];
    if (fd < 0)
        return fail(context, fd, "open", op->path);
    long result = sys_setns(fd, op->kind);
    sys_close(fd);
    if (result < 0)
        return fail(context, result, "setns", op->path);
    if (op->kind != CLONE_NEWUSER)
        return 0;
    context->user_namespace = true;
    return become_mapped_root(context);
}

static const struct {
    u64 kind;
    char name[8];
} namespaces[] = {
    {CLONE_NEWCGROUP, "cgroup"}, {CLONE_NEWIPC, "ipc"}, {CLONE_NEWUTS, "uts"},   {CLONE_NEWNET, "net"},
    {CLONE_NEWPID, "pid"},       {CLONE_NEWNS, "mnt"},  {CLONE_NEWTIME, "time"}, {CLONE_NEWUSER, "user"},
};
enum { KINDS = sizeof namespaces / sizeof namespaces[0], USER = KINDS - 1 };

/* Join one after the other. Who is root on the host needs its rights for the others before it gives them up in the
 * user namespace; who is not gets its rights there: so first what can be joined, then user, then the rest. */
static long join_each(struct context *context, const struct op_join_namespaces *op, int process) {
    int fds[KINDS];
    u64 left = op->kinds;
    for (int i = 0; i < KINDS; i++) {
        fds[i] = -1;
        if (!(left & namespaces[i].kind))
            continue;
        STRING(path, 64);
        put(&path, "/proc/");
        put_number(&path, op->pid);
        put(&path, "/ns/");
        put(&path, namespaces[i].name);
        fds[i] = (int)sys_open(path.text, O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0)
            return fail(context, fds[i], "open", path.text);
        left &= ~namespaces[i].kind;
    }
    if (left != 0)
        return fail(context, -EINVAL, "setns", "unknown kinds of namespace");
    /* Still there after its files were opened: then they are its own and not those of a later process of that pid. */
    long alive = sys(NR_pidfd_send_signal, process, 0, 0, 0);
    if (alive < 0)
        return fail(context, alive, "pidfd_send_signal", "");

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < KINDS; i++) {
            if (fds[i] < 0)
                continue;
            long result = sys_setns(fds[i], namespaces[i].kind);
            if (result == -EPERM && round == 0 && fds[USER] >= 0 && i != USER)
                continue;
            if (result < 0)
                return fail(context, result, "setns", namespaces[i].name);
            sys_close(fds[i]);
            fds[i] = -1;
        }
    }
    return 0;
}

long op_join_namespaces(struct context *context, const struct op_join_namespaces *op) {
    int process = slot_fd(context, op->process);
    if (process < 0)
        return fail(context, process, "", "no pidfd");
    long result = sys_setns(process, op->kinds);
    /* EINVAL: a kernel before 5.8, which takes no pidfds here. */
    if (result == -EINVAL || result == -EPERM)
        result = join_each(context, op, process);
    else if (result < 0)
        return fail(context, result, "setns", "");
    if (result < 0 || !(op->kinds & CLONE_NEWUSER))
        return result;
    context->user_namespace = true;
    return become_mapped_root(context);
}

long op_unshare(struct context *context, const struct op_unshare *op) {
    long result = sys(__NR_unshare, op->kinds);
    return result < 0 ? fail(context, result, "unshare", "") : 0;
}

long op_set_time_offsets(struct context *context, const struct op_set_time_offsets *op) {
    static const char path[] = "/proc/self/timens_offsets";
    long fd = sys_open(path, O_WRONLY | O_CLOEXEC);
    if (fd == -EACCES) {
        /* The files of a process that is not dumpable belong to the host's root. Opened in an instant, since
         * ptrace could reach us meanwhile. */
        sys_prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        fd = sys_open(path, O_WRONLY | O_CLOEXEC);
        if (context->joins)
            hide();
    }
    if (fd < 0)
        return fail(context, fd, "open", path);
    long written = sys_write((int)fd, op->offsets, strlen(op->offsets));
    sys_close((int)fd);
    return written < 0 ? fail(context, written, "write", path) : 0;
}

/*
 * The container process is the runtime's child (CLONE_PARENT), so that whoever waits for the runtime's children gets
 * its exit status, and so that it is reparented like any other when the runtime ends.
 *
 * - The pid that clone(2) returns is one of the caller's own pid namespace: joining or unsharing a pid namespace
 *   changes that of its children only. The intermediate's is the runtime's, so CLONED needs no translation.
 * - The kernel sends the exit signal of the intermediate itself with CLONE_PARENT: SIGCHLD, as it was spawned.
 * - The container process goes on after CLONED was sent, so that the runtime knows its pid before its first message.
 *   It learns that from a byte in a pipe; when none comes, the intermediate was killed before, and it ends, too: a
 *   container process that the runtime does not know must not go on.
 * - The runtime may die at any point between: then nobody holds the other side of the baton, and both processes find
 *   end of file or EPIPE there and end. Neither can hold it open for the other: it is not theirs.
 * - clone(2) has no bit for time namespaces (they share it with the exit signal): unshare(2) makes those first.
 */
long op_clone(struct context *context, const struct op_clone *op) {
    if (op->kinds & CLONE_NEWTIME) {
        long result = sys(__NR_unshare, CLONE_NEWTIME);
        if (result < 0)
            return fail(context, result, "unshare", "time namespace");
    }
    int reported[2];
    long error = sys(__NR_pipe2, reported, O_CLOEXEC);
    if (error < 0)
        return fail(context, error, "pipe2", "");

    long pid = sys(__NR_clone, (op->kinds & ~(u64)CLONE_NEWTIME) | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0)
        return fail(context, pid, "clone", "");
    if (pid > 0) {
        error = send_message(context->baton, CLONED, context->step, 0, (u32)pid, NULL, 0);
        if (error == 0)
            sys_write(reported[1], "", 1);
        sys_exit(error < 0);
    }

    sys_close(reported[1]);
    char byte;
    long size;
    do
        size = sys_read(reported[0], &byte, 1);
    while (size == -EINTR);
    if (size != 1)
        sys_exit(1);
    sys_close(reported[0]);
    /* uid_map and gid_map belong to the host's root while we are hidden, and the runtime may be nobody's root. Other
     * processes in the namespaces we joined gain nothing: ptrace needs CAP_SYS_PTRACE in our new user namespace. */
    if (context->maps_awaited && context->joins)
        sys_prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return 0;
}
