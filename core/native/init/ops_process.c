/* Operations on what a process has beside its files and credentials: session, keyring, names, scheduling, policies. */

#include "init.h"

enum {
    PR_SET_DUMPABLE = 4,
    PR_SET_NO_NEW_PRIVS = 38,
    KEYCTL_JOIN_SESSION_KEYRING = 1,
    KEYCTL_SETPERM = 5,
    KEYCTL_DESCRIBE = 6,
    KEY_OTH_SEARCH = 0x8,
    KEY_USR_SEARCH = 0x80000,
    SIOCGIFFLAGS = 0x8913,
    SIOCSIFFLAGS = 0x8914,
    IFF_UP = 1,
    IFNAMSIZ = 16,
    IOPRIO_WHO_PGRP = 2,
    DESCRIPTION_SIZE = 4096 + 64, /* the kernel's limit for a name, and what it puts before it */
};

/* One system call and its name, for an operation that is nothing else. */
#define ONLY(name, ...)                                        \
    do {                                                       \
        long result = sys(__NR_##name, __VA_ARGS__);           \
        return result < 0 ? fail(context, result, #name, "") : 0; \
    } while (0)

void hide(void) {
    sys_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

long op_become_root(struct context *context, const struct op_become_root *op) {
    (void)op;
    /* EPERM: the user namespace was made by somebody without privileges and denies setgroups(2). */
    long result = sys(__NR_setgroups, 0, 0);
    if (result < 0 && result != -EPERM)
        return fail(context, result, "setgroups", "");
    result = sys(__NR_setresgid, 0, 0, 0);
    if (result < 0)
        return fail(context, result, "setresgid", "");
    result = sys(__NR_setresuid, 0, 0, 0);
    if (result < 0)
        return fail(context, result, "setresuid", "");
    /* A change of credentials resets the flag to the sysctl fs.suid_dumpable. */
    hide();
    return 0;
}

long op_new_session(struct context *context, const struct op_new_session *op) {
    (void)op;
    long result = sys(__NR_setsid);
    return result < 0 ? fail(context, result, "setsid", "") : 0;
}

/* The permission bits in a key's description, "keyring;UID;GID;PERMISSIONS;NAME". */
static u32 described_permissions(const char *description) {
    u32 permissions = 0;
    for (int field = 0; field < 3; field++) {
        description = find(description, ';');
        if (description == NULL)
            return 0;
        description++;
    }
    for (; *description && *description != ';'; description++) {
        char digit = *description;
        permissions = permissions << 4 | (u32)(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    return permissions;
}

long op_join_keyring(struct context *context, const struct op_join_keyring *op) {
    long ring = sys(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, op->name);
    if (ring == -ENOSYS)
        return 0;
    if (ring < 0)
        return fail(context, ring, "keyctl", "KEYCTL_JOIN_SESSION_KEYRING");
    /* A later exec joins it by name, for which it must be found: with the same uid, or, when the user namespace is
     * another one by then, by anybody who knows the name. */
    char description[DESCRIPTION_SIZE];
    long size = sys(__NR_keyctl, KEYCTL_DESCRIBE, ring, description, sizeof description);
    if (size < 0)
        return fail(context, size, "keyctl", "KEYCTL_DESCRIBE");
    if (size > DESCRIPTION_SIZE)
        return fail(context, -ENAMETOOLONG, "keyctl", "KEYCTL_DESCRIBE");
    u32 search = context->user_namespace ? KEY_OTH_SEARCH : KEY_USR_SEARCH;
    long result = sys(__NR_keyctl, KEYCTL_SETPERM, ring, described_permissions(description) | search);
    /* EACCES: exec has joined the container's keyring, which belongs to another user. */
    if (result < 0 && result != -EACCES)
        return fail(context, result, "keyctl", "KEYCTL_SETPERM");
    return 0;
}

long op_bring_up(struct context *context, const struct op_bring_up *op) {
    struct {
        char name[IFNAMSIZ];
        i32 flags;
        char rest[20];
    } request = {.flags = 0};
    size_t length = strlen(op->interface);
    if (length == 0 || length >= IFNAMSIZ)
        return fail(context, -ENODEV, "", "interface name");
    memcpy(request.name, op->interface, length);
    /* Any socket takes these requests; AF_UNIX exists where the kernel has no IPv4. */
    long fd = sys(__NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(context, fd, "socket", "");
    const char *call = "ioctl SIOCGIFFLAGS";
    long result = sys_ioctl((int)fd, SIOCGIFFLAGS, &request);
    if (result >= 0) {
        /* The flags are a short; what lies behind is of no meaning to this request. */
        request.flags = (request.flags & 0xffff) | IFF_UP;
        call = "ioctl SIOCSIFFLAGS";
        result = sys_ioctl((int)fd, SIOCSIFFLAGS, &request);
    }
    sys_close((int)fd);
    return result < 0 ? fail(context, result, call, "") : 0;
}

long op_send_pidfd(struct context *context, const struct op_send_pidfd *op) {
    int socket = slot_fd(context, op->socket);
    if (socket < 0)
        return fail(context, socket, "", "no socket");
    long pidfd = sys(NR_pidfd_open, sys_getpid(), 0);
    if (pidfd < 0)
        return fail(context, pidfd, "pidfd_open", "");
    long sent = send_fd(socket, (int)pidfd, op->payload);
    sys_close((int)pidfd);
    return sent < 0 ? fail(context, sent, "sendmsg", "") : 0;
}

long op_set_hostname(struct context *context, const struct op_set_hostname *op) {
    ONLY(sethostname, op->name, strlen(op->name));
}

long op_set_domainname(struct context *context, const struct op_set_domainname *op) {
    ONLY(setdomainname, op->name, strlen(op->name));
}

long op_set_no_new_privileges(struct context *context, const struct op_set_no_new_privileges *op) {
    (void)op;
    ONLY(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

long op_set_scheduler(struct context *context, const struct op_set_scheduler *op) {
    /* The kernel reads as many bytes as the structure's first word says. */
    const u32 *size = (const void *)op->attributes.data;
    if (op->attributes.size < sizeof *size || *size > op->attributes.size)
        return fail(context, -EINVAL, "sched_setattr", "size");
    ONLY(sched_setattr, 0, op->attributes.data, 0);
}

long op_set_io_priority(struct context *context, const struct op_set_io_priority *op) {
    ONLY(ioprio_set, IOPRIO_WHO_PGRP, 0, op->priority);
}

long op_set_personality(struct context *context, const struct op_set_personality *op) {
    ONLY(personality, op->persona);
}

long op_set_memory_policy(struct context *context, const struct op_set_memory_policy *op) {
    /* The kernel takes one off the number of bits before it looks at the mask. */
    if (op->nodes.size == 0)
        ONLY(set_mempolicy, op->mode, 0, 0);
    ONLY(set_mempolicy, op->mode, op->nodes.data, op->nodes.size * 8 + 1);
}

long op_set_umask(struct context *context, const struct op_set_umask *op) {
    (void)context;
    sys(__NR_umask, op->mask);
    return 0;
}
