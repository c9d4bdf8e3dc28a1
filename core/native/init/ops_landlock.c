/* Landlock: the process gives up access, for itself and for all that it executes. landlock(7). */

#include "init.h"

enum {
    NR_landlock_create_ruleset = 444,
    NR_landlock_add_rule = 445,
    NR_landlock_restrict_self = 446,
    CREATE_RULESET_VERSION = 1,
    RULE_PATH_BENEATH = 1,
    RULE_NET_PORT = 2,
    /* EXECUTE, WRITE_FILE, READ_FILE, TRUNCATE, IOCTL_DEV: the others are about what is in a directory. */
    FILE_RIGHTS = 0xc007,
};

struct ruleset {
    u64 files, network, scoped;
};

struct path_beneath {
    u64 rights;
    i32 parent;
} __attribute__((packed));

struct net_port {
    u64 rights, port;
};

/* What each ABI of the kernel knows, and the size of the structure it takes. */
static struct ruleset known(long abi) {
    struct ruleset all = {0x1fff, 0, 0};
    if (abi >= 2)
        all.files |= 0x2000; /* REFER */
    if (abi >= 3)
        all.files |= 0x4000; /* TRUNCATE */
    if (abi >= 4)
        all.network = 3; /* BIND_TCP, CONNECT_TCP */
    if (abi >= 5)
        all.files |= 0x8000; /* IOCTL_DEV */
    if (abi >= 6)
        all.scoped = 3; /* ABSTRACT_UNIX_SOCKET, SIGNAL */
    return all;
}

static u64 size_of(long abi) {
    return abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
}

/* Allow `rights` on a file or on all below a directory. One that is not there needs no rule: nothing is allowed. */
static long allow_path(struct context *context, int ruleset, int root, const char *path, u64 rights) {
    long fd = open_inside(root, path, 0, 0);
    if (fd == -ENOENT || fd == -ENOTDIR)
        return 0;
    if (fd < 0)
        return fail(context, fd, "open", path);
    struct statx file;
    long result = sys_fstat((int)fd, &file);
    if (result >= 0) {
        struct path_beneath rule = {rights, (i32)fd};
        if ((file.stx_mode & S_IFMT) != S_IFDIR)
            rule.rights &= FILE_RIGHTS;
        if (rule.rights)
            result = sys(NR_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    }
    sys_close((int)fd);
    return result < 0 ? fail(context, result, "landlock_add_rule", path) : 0;
}

static long allow_all(struct context *context, int ruleset, const struct op_restrict_by_landlock *op,
                      const struct ruleset *handled) {
    /* CloseFds has closed the rootfs; the root was changed, or it is a container that exec has entered. */
    long root = sys_openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (root < 0)
        return fail(context, root, "open", "/");
    long result = 0;
    for (u64 i = 0; i < op->paths.count && result >= 0; i++)
        result = allow_path(context, ruleset, (int)root, op->paths.items[i], op->rights.items[i] & handled->files);
    sys_close((int)root);
    for (u64 i = 0; i < op->ports.count && result >= 0; i++) {
        struct net_port rule = {op->port_rights.items[i] & handled->network, op->ports.items[i]};
        if (!rule.rights)
            continue;
        result = sys(NR_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0);
        if (result < 0)
            fail(context, result, "landlock_add_rule", "port");
    }
    return result;
}

long op_restrict_by_landlock(struct context *context, const struct op_restrict_by_landlock *op) {
    if (op->rights.count != op->paths.count || op->port_rights.count != op->ports.count)
        return fail(context, -EINVAL, "", "one entry of rights for each path and port");
    long abi = sys(NR_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    if (abi < 0 && op->least > 0)
        return fail(context, abi, "landlock_create_ruleset", "the kernel has no Landlock");
    if (abi < 0) {
        warn(context, abi, "landlock_create_ruleset", "the kernel has no Landlock: nothing is restricted");
        return 0;
    }
    STRING(detail, 128);
    if ((u64)abi < op->least) {
        put(&detail, "the kernel's Landlock has ABI ");
        put_number(&detail, (u64)abi);
        put(&detail, ", needed is ");
        put_number(&detail, op->least);
        return fail(context, NO_ERRNO, "", detail.text);
    }
    struct ruleset all = known(abi);
    struct ruleset handled = {op->handled & all.files, op->handled_network & all.network, op->scoped & all.scoped};
    if (handled.files != op->handled || handled.network != op->handled_network || handled.scoped != op->scoped) {
        put(&detail, "the kernel's Landlock has ABI ");
        put_number(&detail, (u64)abi);
        put(&detail, ": what it does not know is not restricted");
        warn(context, NO_ERRNO, "", detail.text);
    }
    if (!handled.files && !handled.network && !handled.scoped)
        return 0;
    long ruleset = sys(NR_landlock_create_ruleset, &handled, size_of(abi), 0);
    if (ruleset < 0)
        return fail(context, ruleset, "landlock_create_ruleset", "");
    long result = allow_all(context, (int)ruleset, op, &handled);
    if (result >= 0) {
        result = sys(NR_landlock_restrict_self, (int)ruleset, 0);
        if (result < 0)
            fail(context, result, "landlock_restrict_self", "");
    }
    sys_close((int)ruleset);
    return result < 0 ? result : 0;
}
