/* A procfs to trust.
 *
 * The container's /proc may be anything: an image's directory, a volume, a procfs with files of another procfs bound
 * over it (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881). So what the kernel keeps in procfs is reached through an
 * instance of our own that is attached nowhere: nobody else can mount anything on it. Where the kernel makes none (no
 * fsopen(2) before 5.2, or a user namespace that sees no complete procfs), it is the host's /proc while that is in
 * reach, and else the container's, verified to be a procfs' root and never left for another mount, for which openat2(2)
 * is needed.
 */

#include "init.h"

/* Whether the container can have mounted nothing on them: they are our own, or the host's. */
static bool trusted, trusted_full;

static bool at_host(const struct context *context) {
    return !context->entered && !context->foreign_mounts;
}

static bool is_procfs(int fd) {
    struct statfs filesystem;
    return sys_fstatfs(fd, &filesystem) == 0 && filesystem.f_type == PROC_SUPER_MAGIC;
}

static long make_procfs(bool full) {
    long fs = sys_fsopen("proc", FSOPEN_CLOEXEC);
    if (fs < 0)
        return fs;
    /* Before 5.8 it knows no such option; then it holds more than we need. */
    if (!full)
        sys_fsconfig((int)fs, FSCONFIG_SET_STRING, "subset", "pid", 0);
    long result = sys_fsconfig((int)fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    if (result >= 0)
        result = sys_fsmount((int)fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    sys_close((int)fs);
    return result;
}

static long open_mounted(void) {
    long fd = sys_open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fd;
    struct statx root;
    if (is_procfs((int)fd) && sys_fstat((int)fd, &root) == 0 && root.stx_ino == PROC_ROOT_INO)
        return fd;
    sys_close((int)fd);
    return -EXDEV;
}

static long procfs(struct context *context, bool full) {
    if (context->full_procfs >= 0)
        return context->full_procfs;
    if (!full && context->procfs >= 0)
        return context->procfs;
    long fd = make_procfs(full);
    bool safe = fd >= 0 || at_host(context);
    if (fd < 0)
        fd = open_mounted();
    if (fd < 0)
        return fail(context, fd, "open", "no procfs can be made, and /proc is none");
    if (full) {
        context->full_procfs = (int)fd;
        trusted_full = safe;
    } else {
        context->procfs = (int)fd;
        trusted = safe;
    }
    return fd;
}

void keep_procfs(struct context *context) {
    /* Flags that no kernel knows: it makes nothing, and gives EINVAL where it exists. */
    if (sys_fsopen("proc", ~0u) == -EINVAL || context->full_procfs >= 0)
        return;
    long fd = open_mounted();
    if (fd >= 0) {
        context->full_procfs = (int)fd;
        trusted_full = at_host(context);
    }
}

void release_procfs(struct context *context) {
    if (context->procfs >= 0)
        sys_close(context->procfs);
    if (context->full_procfs >= 0)
        sys_close(context->full_procfs);
    context->procfs = context->full_procfs = -1;
}

long open_proc(struct context *context, bool full, const char *path, int flags) {
    long directory = procfs(context, full);
    if (directory < 0)
        return directory;
    flags |= O_CLOEXEC;
    if (!(flags & O_PATH))
        flags |= O_NOCTTY;
    bool safe = directory == context->full_procfs ? trusted_full : trusted;
    long fd = sys_openat2((int)directory, path, (u64)flags, 0,
                          RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS);
    if ((fd == -ENOSYS || fd == -EPERM) && safe)
        fd = sys_openat((int)directory, path, flags | O_NOFOLLOW, 0);
    if (fd < 0)
        return fail(context, fd, "open", path);
    if (!is_procfs((int)fd)) {
        sys_close((int)fd);
        return fail(context, -EXDEV, "open", path);
    }
    return fd;
}

long reopen(struct context *context, int fd, int flags) {
    long directory = open_proc(context, false, "self/fd", O_PATH | O_DIRECTORY);
    if (directory < 0)
        return directory;
    STRING(name, 16);
    put_number(&name, (u64)fd);
    long file = sys_openat((int)directory, name.text, flags | O_CLOEXEC | O_NOCTTY, 0);
    sys_close((int)directory);
    return file < 0 ? fail(context, file, "open", "") : file;
}
