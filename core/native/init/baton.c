/* The baton: messages to and from the runtime, and how an operation's failure becomes one. See ../README.md. */

#include "init.h"

struct message {
    u32 kind, step;
    i32 error;
    u32 value;
    char text[];
};

long send_message(int fd, u32 kind, u32 step, i32 error, u32 value, const char *text, u64 text_size) {
    struct message head = {kind, step, error, value};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)text, text_size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    long sent;
    do
        sent = sys_sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent == -EINTR);
    return sent < 0 ? sent : 0;
}

long fail(struct context *context, long error, const char *call, const char *detail) {
    struct string copy = {context->detail, sizeof context->detail, 0, false};
    copy.text[0] = 0;
    put(&copy, detail);
    context->call = call;
    return error;
}

void send_failure(struct context *context, u32 kind, long error) {
    /* Static: an operation may have used up most of a small stack, and nothing here runs twice at once. */
    static char space[64 + DETAIL_LIMIT];
    struct string text = {space, sizeof space, 0, false};
    put(&text, context->call ? context->call : "");
    put_bytes(&text, "", 1);
    put(&text, context->detail);
    int fd = context->baton >= 0 ? context->baton : context->channel;
    if (fd >= 0)
        send_message(fd, kind, context->step, error == NO_ERRNO ? 0 : (i32)-error, 0, text.text, text.length + 1);
    context->call = NULL;
    context->detail[0] = 0;
}

void warn(struct context *context, long error, const char *call, const char *detail) {
    fail(context, error, call, detail);
    send_failure(context, WARNING, error);
}

long send_fd(int socket, int fd, const char *payload) {
    struct {
        struct cmsghdr head;
        i32 fd;
        i32 padding;
    } control = {{sizeof(struct cmsghdr) + sizeof(i32), SOL_SOCKET, SCM_RIGHTS}, fd, 0};
    struct iovec part = {(void *)payload, strlen(payload)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    long sent;
    do
        sent = sys_sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent == -EINTR);
    return sent < 0 ? sent : 0;
}

int slot_fd(const struct context *context, i64 slot) {
    if (slot < 0 || slot >= SLOT_LIMIT || context->slot[slot] == 0)
        return -EBADF;
    return context->slot[slot] - 1;
}

/* The protocol was broken, by a bug of ours: say so and end. */
static _Noreturn void broken(struct context *context, long error, const char *reason) {
    context->step = NO_STEP;
    fail(context, error, "message", reason);
    send_failure(context, ERROR, error);
    sys_exit(1);
}

static void store_slots(struct context *context, const u32 *slots, const int *fds, u64 count) {
    for (u64 i = 0; i < count; i++) {
        if (slots[i] >= SLOT_LIMIT)
            broken(context, -EINVAL, "slot number");
        if (context->slot[slots[i]] != 0)
            sys_close(context->slot[slots[i]] - 1);
        context->slot[slots[i]] = fds[i] + 1;
    }
}

int receive(struct context *context, u32 kind) {
    union {
        struct message head;
        u8 space[sizeof(struct message) + 4 * MESSAGE_FDS];
    } in;
    struct {
        struct cmsghdr head;
        int fds[MESSAGE_FDS];
    } control;
    for (;;) {
        struct iovec part = {&in, sizeof in};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        long size = sys_recvmsg(context->baton, &message, MSG_CMSG_CLOEXEC);
        if (size == -EINTR)
            continue;
        /* The runtime is dead, or has given up: nothing must be left of the container. */
        if (size <= 0)
            sys_exit(1);
        if (message.msg_flags & MSG_CTRUNC)
            broken(context, -EMFILE, "file descriptors were lost");
        if (size < (long)sizeof in.head || message.msg_flags & MSG_TRUNC)
            broken(context, -EINVAL, "size");
        if (in.head.kind == ERROR)
            sys_exit(1);
        if (in.head.kind != kind && in.head.kind != FDS)
            broken(context, -EINVAL, "unexpected kind");

        u64 count = 0;
        if (message.msg_controllen >= sizeof control.head && control.head.cmsg_level == SOL_SOCKET &&
            control.head.cmsg_type == SCM_RIGHTS)
            count = (control.head.cmsg_len - sizeof control.head) / sizeof control.fds[0];
        u64 before_slots = in.head.kind == PROGRAM ? 1 : 0;
        u64 text_size = (u64)size - sizeof in.head;
        if (in.head.value > MESSAGE_FDS || count != in.head.value + before_slots ||
            text_size < in.head.value * sizeof(u32))
            broken(context, -EINVAL, "number of file descriptors");
        store_slots(context, (const u32 *)(const void *)in.head.text, control.fds + before_slots, in.head.value);
        if (in.head.kind == kind)
            return kind == PROGRAM ? control.fds[0] : 0;
    }
}
