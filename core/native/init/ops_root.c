/* Operations that change the root and the working directory. */

#include "init.h"

enum { LINES_SIZE = 32768 };

/* ---- the root ---- */

/* `/` must be the rootfs now, whatever the calls before have said. */
static long enter(struct context *context) {
    long result = sys_chdir("/");
    if (result < 0)
        return fail(context, result, "chdir", "/");
    struct statx root, rootfs;
    if (sys_statx(AT_FDCWD, "/", 0, &root) < 0 || sys_fstat(context->rootfs, &rootfs) < 0 ||
        !same_place(&root, &rootfs))
        return fail(context, -EXDEV, "verify", "the root is not the rootfs");
    context->entered = true;
    return 0;
}

static long change_root(struct context *context) {
    long result = sys_fchdir(context->rootfs);
    if (result < 0)
        return fail(context, result, "fchdir", context->rootfs_path);
    result = sys_chroot(".");
    return result < 0 ? fail(context, result, "chroot", context->rootfs_path) : enter(context);
}

long op_pivot_root(struct context *context, const struct op_pivot_root *op) {
    (void)op;
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    keep_procfs(context);
    long old = sys_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0)
        return fail(context, old, "open", "/");
    const char *call = "fchdir";
    long result = sys_fchdir((int)root);
    if (result >= 0) {
        call = "pivot_root";
        /* The same place twice: the old root is put over the new one, and no directory in the image is needed. */
        result = sys_pivot_root(".", ".");
    }
    if (result >= 0) {
        call = "fchdir";
        result = sys_fchdir((int)old);
    }
    if (result >= 0) {
        call = "mount";
        /* Or unmounting would be seen by the host. */
        result = sys_mount("", ".", NULL, MS_SLAVE | MS_REC, NULL);
    }
    if (result >= 0) {
        call = "umount2";
        result = sys_umount2(".", MNT_DETACH);
    }
    sys_close((int)old);
    return result < 0 ? fail(context, result, call, context->rootfs_path) : enter(context);
}

long op_change_root(struct context *context, const struct op_change_root *op) {
    (void)op;
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    keep_procfs(context);
    return change_root(context);
}

/* ---- MoveRoot ---- */

static char lines_space[LINES_SIZE];

/* Cut the field that `text` begins with off what follows, which is returned, and turn \040 and the like back. */
static char *field(char *text) {
    char *out = text;
    while (*text && *text != ' ') {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
            *out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else
            *out++ = *text++;
    }
    char *next = *text ? text + 1 : text;
    *out = 0;
    return next;
}

/* Whether the line of mountinfo, see proc_pid_mountinfo(5), is a whole procfs or sysfs outside of `rootfs`. */
static const char *full_mount(char *line, const char *rootfs) {
    char *separator = line;
    while (*separator && !starts_with(separator, " - "))
        separator++;
    if (*separator == 0)
        return NULL;
    char *type = separator + 3;
    field(type);
    if (strcmp(type, "proc") != 0 && strcmp(type, "sysfs") != 0)
        return NULL;
    *separator = 0;
    char *root = line;
    for (int i = 0; i < 3; i++)
        root = field(root);
    char *mount_point = field(root);
    field(mount_point);
    if (strcmp(root, "/") != 0)
        return NULL;
    size_t length = strlen(rootfs);
    if (starts_with(mount_point, rootfs) && (mount_point[length] == 0 || mount_point[length] == '/'))
        return NULL;
    return mount_point;
}

/* The mount point of the (skip + 1)th such mount: 1, and 0 when there is none; fails in the context. */
static long find_full_mount(struct context *context, const char *rootfs, u32 skip, const char **mount_point) {
    long fd = open_proc(context, false, "self/mountinfo", O_RDONLY);
    if (fd < 0)
        return fd;
    size_t filled = 0;
    long result;
    while ((result = sys_read((int)fd, lines_space + filled, LINES_SIZE - 1 - filled)) > 0) {
        filled += (size_t)result;
        lines_space[filled] = 0;
        char *line = lines_space;
        for (char *end; (end = find(line, '\n')) != NULL; line = end + 1) {
            *end = 0;
            *mount_point = full_mount(line, rootfs);
            if (*mount_point && skip-- == 0) {
                sys_close((int)fd);
                return 1;
            }
        }
        filled -= (size_t)(line - lines_space);
        memmove(lines_space, line, filled);
        if (filled == LINES_SIZE - 1) {
            result = -E2BIG;
            break;
        }
    }
    sys_close((int)fd);
    return result < 0 ? fail(context, result, "read", "mountinfo") : 0;
}

/* chroot(2) leaves the host's mounts in the namespace, where a complete procfs or sysfs would entitle the container
 * to mount its own without the host's masks. They go; what cannot be unmounted (its parent is locked in a user
 * namespace) is covered. */
static long remove_full_mounts(struct context *context, const char *rootfs) {
    u32 skip = 0;
    for (;;) {
        const char *path = NULL;
        long result = find_full_mount(context, rootfs, skip, &path);
        if (result <= 0)
            return result;
        /* Or unmounting would be seen by the host. EINVAL: what lies there is no mount any more. */
        result = sys_mount("", path, NULL, MS_SLAVE | MS_REC, NULL);
        if (result == 0)
            result = sys_umount2(path, MNT_DETACH);
        if (result == 0)
            continue;
        if (result == -EPERM || result == -EINVAL) {
            skip++;
            result = sys_mount("tmpfs", path, "tmpfs", 0, NULL);
        }
        if (result < 0 && result != -ENOENT && result != -ENOTDIR)
            return fail(context, result, "umount2", path);
    }
}

long op_move_root(struct context *context, const struct op_move_root *op) {
    (void)op;
    static char rootfs[PATH_LIMIT];
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    keep_procfs(context);
    /* As mountinfo spells it. */
    STRING(name, 16);
    put_number(&name, (u64)root);
    long directory = open_proc(context, false, "self/fd", O_PATH | O_DIRECTORY);
    if (directory < 0)
        return directory;
    long size = sys_readlinkat((int)directory, name.text, rootfs, sizeof rootfs);
    sys_close((int)directory);
    if (size < 0 || size == sizeof rootfs)
        return fail(context, size < 0 ? size : -ENAMETOOLONG, "readlink", context->rootfs_path);
    rootfs[size] = 0;

    long result = remove_full_mounts(context, rootfs);
    if (result < 0)
        return result;
    result = sys_fchdir((int)root);
    if (result < 0)
        return fail(context, result, "fchdir", context->rootfs_path);
    result = sys_mount(".", "/", NULL, MS_MOVE, NULL);
    return result < 0 ? fail(context, result, "mount", context->rootfs_path) : change_root(context);
}

/* ---- the working directory ---- */

/* The kernel says "(unreachable)/..." where the directory lies outside of the root. */
static bool inside_root(void) {
    char path[PATH_LIMIT];
    return sys_getcwd(path, sizeof path) > 0 && path[0] == '/';
}

static long change_directory(const char *path) {
    /* Never by a link of /proc/self/fd, which leads out of the root when a descriptor does (CVE-2024-21626). */
    long fd = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS);
    if (fd == -ENOSYS || fd == -EPERM)
        return sys_chdir(path);
    if (fd < 0)
        return fd;
    long result = sys_fchdir((int)fd);
    sys_close((int)fd);
    return result;
}

long op_chdir(struct context *context, const struct op_chdir *op) {
    if (context->working_directory && strcmp(context->working_directory, op->path) == 0)
        return 0;
    if (op->path[0] != '/')
        return fail(context, -EINVAL, "chdir", "the working directory must be an absolute path");
    long result = change_directory(op->path);
    if ((result == -EACCES || result == -EPERM) && op->tolerate)
        return 0;
    if (result < 0)
        return fail(context, result, "chdir", op->path);
    if (!inside_root()) {
        sys_chdir("/");
        return fail(context, NO_ERRNO, "chdir", "the working directory lies outside of the container's root");
    }
    context->working_directory = op->path;
    return 0;
}
