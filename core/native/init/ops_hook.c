/* RunProgram: run a hook, wait for it, and say how it failed. */

#include "init.h"

enum {
    POLLIN = 1,
    CLOCK_MONOTONIC = 1,
    TAIL_SIZE = 2 * DETAIL_LIMIT / 5, /* two of them and the rest of the text fit into a detail */
    OUT = 0,
    ERR = 1,
    EXIT = 2,
};

struct pollfd {
    i32 fd;
    i16 events, revents;
};

/* The last bytes of a stream: at least half of the space when more came. */
struct tail {
    u64 length;
    char bytes[TAIL_SIZE];
};

struct hook {
    long pid;
    struct pollfd polls[3]; /* of OUT, ERR, EXIT: descriptors, -1 where nothing more will come */
    struct tail tails[2];
};

/* The standard input as a file in memory: it never blocks and never raises SIGPIPE, whatever the hook reads of it. */
static long input(struct context *context, const struct op_run_program *op) {
    long fd = sys(__NR_memfd_create, "hook-stdin", 1 /* MFD_CLOEXEC */);
    if (fd < 0)
        return fail(context, fd, "memfd_create", "");
    STRING(pid, 24);
    put_number(&pid, (u64)sys_getpid());
    const struct blob parts[3] = {op->before, {(const u8 *)pid.text, pid.length}, op->after};
    u64 offset = 0;
    for (int i = 0; i < 3; i++)
        for (u64 done = 0; done < parts[i].size;) {
            long written = sys(__NR_pwrite64, fd, parts[i].data + done, parts[i].size - done, offset);
            if (written <= 0) {
                sys_close((int)fd);
                return fail(context, written < 0 ? written : -EIO, "write", "standard input of the hook");
            }
            done += (u64)written;
            offset += (u64)written;
        }
    return fd;
}

/* In the child: nothing but the three streams, a process group to kill, and a working directory that no image chose
 * (CVE-2025-23266). Returns the errno that kept it from running. */
static long execute(const struct context *context, const struct op_run_program *op, const int streams[3]) {
    sys(__NR_setpgid, 0, 0);
    if (op->in_root && !context->entered) {
        long error = sys_fchdir(context->rootfs);
        if (error == 0)
            error = sys_chroot(".");
        if (error < 0)
            return error;
    }
    long error = sys_chdir("/");
    if (error < 0)
        return error;
    /* None of the three is below 3: who spawned us sees to it that 0 to 2 are open. */
    for (int fd = 0; fd < 3; fd++) {
        error = sys_dup3(streams[fd], fd, 0);
        if (error < 0)
            return error;
    }
    cloexec_from(3);
    return sys(__NR_execve, op->path, op->args.items, op->env.items);
}

/* Start the hook; on failure nothing is left of it. */
static long start(struct context *context, const struct op_run_program *op, struct hook *hook) {
    int out[2] = {-1, -1}, err[2] = {-1, -1}, executed[2] = {-1, -1};
    long stdin = input(context, op);
    if (stdin < 0)
        return stdin;
    long error = sys(__NR_pipe2, out, O_CLOEXEC);
    if (error == 0)
        error = sys(__NR_pipe2, err, O_CLOEXEC);
    if (error == 0)
        error = sys(__NR_pipe2, executed, O_CLOEXEC);
    const char *call = "pipe2";
    if (error == 0) {
        call = "clone";
        hook->pid = error = sys(__NR_clone, SIGCHLD, 0, 0, 0, 0);
    }
    if (error == 0) {
        i32 reason = (i32)execute(context, op, (const int[3]){(int)stdin, out[1], err[1]});
        sys_write(executed[1], &reason, sizeof reason);
        sys_exit(127);
    }
    sys_close((int)stdin);
    sys_close(out[1]);
    sys_close(err[1]);
    sys_close(executed[1]);
    if (error > 0) {
        /* Execution closes the other side; a number means that there was none. */
        i32 reason = 0;
        long size;
        do
            size = sys_read(executed[0], &reason, sizeof reason);
        while (size == -EINTR);
        if (size == sizeof reason) {
            while (sys(__NR_wait4, hook->pid, NULL, 0, NULL) == -EINTR)
                ;
            call = "execve";
            error = reason;
        }
    }
    sys_close(executed[0]);
    if (error < 0) {
        sys_close(out[0]);
        sys_close(err[0]);
        return fail(context, error, call, op->path);
    }
    sys_fcntl(out[0], F_SETFL, O_NONBLOCK);
    sys_fcntl(err[0], F_SETFL, O_NONBLOCK);
    hook->polls[OUT] = (struct pollfd){out[0], POLLIN, 0};
    hook->polls[ERR] = (struct pollfd){err[0], POLLIN, 0};
    /* Kernels before 5.3 have none: there the end of both streams is taken for the hook's. */
    hook->polls[EXIT] = (struct pollfd){(i32)sys(NR_pidfd_open, hook->pid, 0), POLLIN, 0};
    return 0;
}

static void drain(struct hook *hook, int stream) {
    struct tail *tail = &hook->tails[stream];
    struct pollfd *poll = &hook->polls[stream];
    while (poll->fd >= 0) {
        if (tail->length == TAIL_SIZE) {
            tail->length = TAIL_SIZE / 2;
            memcpy(tail->bytes, tail->bytes + TAIL_SIZE / 2, TAIL_SIZE / 2);
        }
        long size = sys_read(poll->fd, tail->bytes + tail->length, TAIL_SIZE - tail->length);
        if (size == -EAGAIN || size == -EINTR)
            return;
        if (size <= 0) {
            sys_close(poll->fd);
            poll->fd = -1;
            return;
        }
        tail->length += (u64)size;
    }
}

static u64 now_ns(void) {
    struct timespec now;
    sys(__NR_clock_gettime, CLOCK_MONOTONIC, &now);
    return (u64)now.tv_sec * 1000000000u + (u64)now.tv_nsec;
}

/* Wait for the hook's end, reading what it says. Returns false when `timeout_s` (0: none) passed before. */
static bool finished(struct hook *hook, u64 timeout_s) {
    u64 limit_s = timeout_s < 0x7fffffff ? timeout_s : 0x7fffffff;
    u64 deadline = now_ns() + limit_s * 1000000000u;
    while (hook->polls[OUT].fd >= 0 || hook->polls[ERR].fd >= 0 || hook->polls[EXIT].fd >= 0) {
        struct timespec left = {0, 0};
        u64 now = now_ns();
        if (now < deadline) {
            left.tv_sec = (i64)((deadline - now) / 1000000000u);
            left.tv_nsec = (i64)((deadline - now) % 1000000000u);
        }
        long ready = sys(__NR_ppoll, hook->polls, 3, timeout_s ? &left : NULL, NULL, 0);
        if (ready == 0)
            return false;
        if (ready < 0)
            continue;
        bool ended = hook->polls[EXIT].fd >= 0 && hook->polls[EXIT].revents;
        for (int stream = OUT; stream <= ERR; stream++)
            if (hook->polls[stream].revents || ended)
                drain(hook, stream);
        /* Processes that it left behind may hold the streams open for ever: they are not waited for. */
        if (ended)
            return true;
    }
    return true;
}

static void put_tail(struct string *text, const struct tail *tail) {
    for (u64 i = 0; i < tail->length; i++)
        put_bytes(text, tail->bytes[i] ? &tail->bytes[i] : "?", 1);
}

/* Tell the runtime how it went, for the container's state: error = exit status or minus the signal, value = ms. */
static void report(struct context *context, const struct hook *hook, int status, u64 began_ns) {
    STRING(text, 2 * TAIL_SIZE + 2);
    put_tail(&text, &hook->tails[OUT]);
    put_bytes(&text, "", 1);
    put_tail(&text, &hook->tails[ERR]);
    u64 ms = (now_ns() - began_ns) / 1000000;
    i32 code = status & 0x7f ? -(status & 0x7f) : status >> 8 & 0xff;
    int fd = context->baton >= 0 ? context->baton : context->channel;
    if (fd >= 0)
        send_message(fd, OUTPUT, context->step, code, (u32)ms, text.text, text.length);
}

/* The parts of runc's sentence: "exit status 1, stdout: , stderr: no such device". */
static long explain(struct context *context, const struct hook *hook, int status) {
    STRING(text, DETAIL_LIMIT);
    put(&text, status & 0x7f ? "signal: " : "exit status ");
    put_number(&text, (u64)(status & 0x7f ? status & 0x7f : status >> 8 & 0xff));
    put(&text, ", stdout: ");
    put_tail(&text, &hook->tails[OUT]);
    put(&text, ", stderr: ");
    put_tail(&text, &hook->tails[ERR]);
    return fail(context, NO_ERRNO, "hook", text.text);
}

long op_run_program(struct context *context, const struct op_run_program *op) {
    struct hook hook;
    hook.tails[OUT].length = hook.tails[ERR].length = 0;
    u64 began_ns = now_ns();
    long error = start(context, op, &hook);
    if (error < 0)
        return error;
    bool in_time = finished(&hook, op->timeout_s);
    if (!in_time) {
        sys(__NR_kill, -hook.pid, SIGKILL);
        sys(__NR_kill, hook.pid, SIGKILL);
    }
    int status = 0;
    while (sys(__NR_wait4, hook.pid, &status, 0, NULL) == -EINTR)
        ;
    for (int i = 0; i < 3; i++)
        if (hook.polls[i].fd >= 0)
            sys_close(hook.polls[i].fd);
    report(context, &hook, status, began_ns);
    if (in_time)
        return status == 0 ? 0 : explain(context, &hook, status);
    STRING(text, 64);
    put(&text, "hook ran past specified timeout of ");
    put_number(&text, op->timeout_s);
    put(&text, ".0s");
    return fail(context, NO_ERRNO, "hook", text.text);
}
