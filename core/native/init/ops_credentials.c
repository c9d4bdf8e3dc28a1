/* Operations that turn root of the container into the container's user. */

#include "init.h"

enum {
    PR_SET_KEEPCAPS = 8,
    PR_CAPBSET_READ = 23,
    PR_CAPBSET_DROP = 24,
    PR_CAP_AMBIENT = 47,
    PR_CAP_AMBIENT_RAISE = 2,
    PR_CAP_AMBIENT_CLEAR_ALL = 4,
    CAPABILITY_VERSION_3 = 0x20080522,
    PROT_READ_WRITE = 3,
    MAP_PRIVATE_ANONYMOUS = 0x22,
    GROUPS_LIMIT = 65536,
};

/* The highest id there is. 2^32-1 means "leave it as it is" to setresuid(2): it must never be asked for, or a
 * process that should lose root would keep it. */
#define LAST_ID 0xfffffffeu

static long fail_number(struct context *context, long error, const char *call, const char *what, u64 number) {
    STRING(detail, 64);
    put(&detail, what);
    put_number(&detail, number);
    return fail(context, error, call, detail.text);
}

long op_drop_bounding_set(struct context *context, const struct op_drop_bounding_set *op) {
    /* The kernel's own range ends where reading gives EINVAL; bits of `keep` behind it mean nothing here. */
    for (u64 i = 0; i < 64; i++) {
        long present = sys_prctl(PR_CAPBSET_READ, i, 0, 0, 0);
        if (present < 0)
            return 0;
        if (present == 0 || op->keep >> i & 1)
            continue;
        long result = sys_prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
        if (result < 0)
            return fail_number(context, result, "prctl PR_CAPBSET_DROP", "capability ", i);
    }
    return 0;
}

long op_keep_capabilities(struct context *context, const struct op_keep_capabilities *op) {
    long result = sys_prctl(PR_SET_KEEPCAPS, op->keep, 0, 0, 0);
    return result < 0 ? fail(context, result, "prctl PR_SET_KEEPCAPS", "") : 0;
}

long op_chown_stdio(struct context *context, const struct op_chown_stdio *op) {
    if (op->uid > LAST_ID)
        return fail_number(context, -EINVAL, "fchown", "uid ", op->uid);
    for (int fd = 0; fd < 3; fd++) {
        struct statx file;
        if (sys_fstat(fd, &file) < 0)
            continue; /* closed */
        bool null = (file.stx_mode & S_IFMT) == S_IFCHR && file.stx_rdev_major == 1 && file.stx_rdev_minor == 3;
        if (null || file.stx_uid == op->uid)
            continue;
        /* EINVAL: the id is not mapped; EPERM, EROFS: the engine's file, whose owner is its own affair. */
        long result = sys_fchown(fd, (u32)op->uid, (u32)-1);
        if (result < 0 && result != -EINVAL && result != -EPERM && result != -EROFS)
            return fail_number(context, result, "fchown", "file descriptor ", (u64)fd);
    }
    return 0;
}

long op_set_rlimit(struct context *context, const struct op_set_rlimit *op) {
    const u64 limits[2] = {op->soft, op->hard};
    long result = sys(__NR_prlimit64, 0, op->resource, limits, NULL);
    return result < 0 ? fail_number(context, result, "prlimit", "resource ", op->resource) : 0;
}

long op_set_groups(struct context *context, const struct op_set_groups *op) {
    u64 count = op->gids.count;
    if (count > GROUPS_LIMIT)
        return fail_number(context, -EINVAL, "setgroups", "number of groups ", count);
    u32 *gids = NULL;
    if (count > 0) {
        long start = sys(__NR_mmap, 0, count * sizeof(u32), PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
        if (start < 0 && start > -4096)
            return fail(context, start, "mmap", "");
        gids = (u32 *)start;
    }
    for (u64 i = 0; i < count; i++) {
        if (op->gids.items[i] > LAST_ID)
            return fail_number(context, -EINVAL, "setgroups", "gid ", op->gids.items[i]);
        gids[i] = (u32)op->gids.items[i];
    }
    long result = sys(__NR_setgroups, count, gids);
    if (gids != NULL)
        sys(__NR_munmap, gids, count * sizeof(u32));
    return result < 0 ? fail(context, result, "setgroups", "") : 0;
}

long op_set_gid(struct context *context, const struct op_set_gid *op) {
    long result = op->gid > LAST_ID ? -EINVAL : sys(__NR_setresgid, op->gid, op->gid, op->gid);
    return result < 0 ? fail(context, result, "setresgid", "") : 0;
}

long op_set_uid(struct context *context, const struct op_set_uid *op) {
    long result = op->uid > LAST_ID ? -EINVAL : sys(__NR_setresuid, op->uid, op->uid, op->uid);
    if (result < 0)
        return fail(context, result, "setresuid", "");
    /* A change of credentials resets the flag to the sysctl fs.suid_dumpable. */
    hide();
    return 0;
}

long op_set_capabilities(struct context *context, const struct op_set_capabilities *op) {
    struct {
        u32 version;
        i32 pid;
    } head = {CAPABILITY_VERSION_3, 0};
    struct {
        u32 effective, permitted, inheritable;
    } sets[2];
    for (int half = 0; half < 2; half++) {
        sets[half].effective = (u32)(op->effective >> 32 * half);
        sets[half].permitted = (u32)(op->permitted >> 32 * half);
        sets[half].inheritable = (u32)(op->inheritable >> 32 * half);
    }
    /* The kernel ignores the bits of capabilities that it does not know. */
    long result = sys(__NR_capset, &head, sets);
    if (result < 0)
        return fail(context, result, "capset", "");
    result = sys_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return result < 0 ? fail(context, result, "prctl PR_CAP_AMBIENT_CLEAR_ALL", "") : 0;
}

long op_set_ambient(struct context *context, const struct op_set_ambient *op) {
    for (u64 i = 0; i < 64; i++) {
        if (!(op->ambient >> i & 1))
            continue;
        long result = sys_prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0);
        if (result == -EINVAL)
            continue; /* unknown to this kernel */
        if (result < 0) {
            fail_number(context, result, "prctl PR_CAP_AMBIENT_RAISE", "capability ", i);
            send_failure(context, WARNING, result);
        }
    }
    return 0;
}
