/* LoadFilter: the seccomp filter, and the file descriptor of its listener on the way to who answers for it.
 *
 * Whoever is under the filter can do nothing that is certain any more: sendmsg(2), by which the descriptor is sent,
 * may be refused, end the process, or wait for an answer from a listener that nobody has got yet. So another thread
 * sends it, which was made before and stays outside: a filter counts for the thread that loads it. This one waits
 * without a system call. The thread shares all memory and descriptors, is nobody's child, and is gone before the
 * program is executed.
 */

#include "init.h"

enum {
    SECCOMP_SET_MODE_FILTER = 1,
    SECCOMP_FILTER_FLAG_NEW_LISTENER = 8,
    PR_SET_SECCOMP = 22,
    SECCOMP_MODE_FILTER = 2,
    PROT_READ = 1,
    MAP_PRIVATE = 2,
    MSG_DONTWAIT = 0x40,
    CLONE_VM = 0x100,
    CLONE_FS = 0x200,
    CLONE_FILES = 0x400,
    CLONE_SIGHAND = 0x800,
    CLONE_THREAD = 0x10000,
    CLONE_SYSVSEM = 0x40000,
    THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
    STACK_SIZE = 16384,
    NOT_YET = -5000, /* no errno */
};

/* What both threads share. */
static struct {
    struct context *context;
    int socket;
    struct blob state;
    long listener; /* NOT_YET, the descriptor, or a negative errno: then nothing is to be sent */
    long sent;     /* NOT_YET, or the result */
} delivery;

static _Alignas(16) u8 stack[STACK_SIZE];

/* Send the state with the descriptor; both close with the socket. */
static long deliver(void) {
    struct {
        struct cmsghdr head;
        i32 fd;
        i32 padding;
    } control = {{sizeof(struct cmsghdr) + sizeof(i32), SOL_SOCKET, SCM_RIGHTS}, (i32)delivery.listener, 0};
    struct iovec part = {(void *)(uintptr_t)delivery.state.data, delivery.state.size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    long sent;
    do
        /* It fits into the socket's buffer, or is no state. */
        sent = sys_sendmsg(delivery.socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent == -EINTR);
    sys_close(delivery.socket);
    sys_close((int)delivery.listener);
    if (sent >= 0 && (u64)sent != delivery.state.size)
        return -EMSGSIZE;
    return sent < 0 ? sent : 0;
}

__attribute__((used)) _Noreturn static void deliverer(void) {
    while (__atomic_load_n(&delivery.listener, __ATOMIC_ACQUIRE) == NOT_YET)
        sys(__NR_sched_yield);
    if (delivery.listener >= 0) {
        long result = deliver();
        if (result < 0) {
            /* The other thread may not be able to tell. */
            fail(delivery.context, result, "sendmsg", "the seccomp listener");
            send_failure(delivery.context, ERROR, result);
            sys_exit(1);
        }
        __atomic_store_n(&delivery.sent, result, __ATOMIC_RELEASE);
    }
    for (;;)
        sys(__NR_exit, 0);
}

THREAD_START(deliverer);

static long map(struct context *context, int fd, struct blob *out) {
    struct statx file;
    long error = sys_fstat(fd, &file);
    if (error < 0)
        return fail(context, error, "statx", "");
    long start = sys(__NR_mmap, 0, file.stx_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (start < 0 && start > -4096)
        return fail(context, start, "mmap", "");
    *out = (struct blob){(const u8 *)start, file.stx_size};
    return 0;
}

static long load(const struct op_load_filter *op, u64 flags) {
    struct {
        u16 length;
        const void *filter;
    } program = {(u16)(op->program.size / 8), op->program.data};
    long result = sys(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result == -ENOSYS && flags == 0)
        result = sys_prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (u64)(uintptr_t)&program, 0, 0);
    return result;
}

static long load_and_send(struct context *context, const struct op_load_filter *op) {
    int state = slot_fd(context, op->state);
    delivery.context = context;
    delivery.socket = slot_fd(context, op->listener);
    if (delivery.socket < 0 || state < 0)
        return fail(context, -EBADF, "", "no socket for the listener");
    long error = map(context, state, &delivery.state);
    if (error < 0)
        return error;
    delivery.listener = delivery.sent = NOT_YET;
    bool threaded = thread_start(THREAD, stack + STACK_SIZE) > 0;
    long listener = load(op, op->flags | SECCOMP_FILTER_FLAG_NEW_LISTENER);
    __atomic_store_n(&delivery.listener, listener, __ATOMIC_RELEASE);
    if (listener < 0)
        return fail(context, listener, "seccomp", "");
    /* Its descriptors are closed with what is sent. */
    context->slot[op->listener] = 0;
    if (!threaded) {
        /* No thread, because of a limit of processes: then it must be this one. */
        error = deliver();
        return error < 0 ? fail(context, error, "sendmsg", "the seccomp listener") : 0;
    }
    while (__atomic_load_n(&delivery.sent, __ATOMIC_ACQUIRE) == NOT_YET)
        ;
    return 0;
}

long op_load_filter(struct context *context, const struct op_load_filter *op) {
    if (op->program.size % 8 != 0 || op->program.size / 8 > 0xffff)
        return fail(context, -EINVAL, "seccomp", "size of the program");
    if (op->listener >= 0)
        return load_and_send(context, op);
    long result = load(op, op->flags);
    return result < 0 ? fail(context, result, "seccomp", "") : 0;
}
