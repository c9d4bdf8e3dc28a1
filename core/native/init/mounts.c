/* Mounting on file descriptors: what is bound and mounted never goes through a path of the image.
 *
 * A target is resolved once, the mount is attached to what was found, and then the path is resolved again: it must
 * lead to the new mount. If another process moved directories meanwhile, it does not, and we fail (CVE-2021-30465).
 * Kernels before 5.2 have only mount(2), which takes paths: there it gets the name of a descriptor, relative to the
 * folder of our descriptors in a trusted procfs.
 */

#include "init.h"

static const struct {
    u64 attribute, mount_flag, statfs_flag;
    char name[16];
} flags[] = {
    {MOUNT_ATTR_RDONLY, MS_RDONLY, MS_RDONLY, "ro"},
    {MOUNT_ATTR_NOSUID, MS_NOSUID, MS_NOSUID, "nosuid"},
    {MOUNT_ATTR_NODEV, MS_NODEV, MS_NODEV, "nodev"},
    {MOUNT_ATTR_NOEXEC, MS_NOEXEC, MS_NOEXEC, "noexec"},
    {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME, MS_NODIRATIME, "nodiratime"},
    {MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW, ST_NOSYMFOLLOW, "nosymfollow"},
};
enum { FLAGS = sizeof flags / sizeof flags[0] };

/* ---- targets ---- */

/* Whether a target that is not named as one lies in the container's /proc all the same: an image's symbolic link leads
 * there. What may be mounted in /proc was decided by name (CVE-2019-19921, CVE-2023-27561). */
static bool leads_to_proc(int root, int target, const struct statx *found, const char *path) {
    static const char proc_name[] = "/proc";
    struct statfs filesystem;
    size_t same = 0;
    while (proc_name[same] && path[same] == proc_name[same])
        same++;
    if (!proc_name[same] && (path[same] == 0 || path[same] == '/'))
        return false;
    if (sys_fstatfs(target, &filesystem) < 0)
        return true;
    if (filesystem.f_type != PROC_SUPER_MAGIC)
        return false;
    long proc = open_inside(root, "/proc", O_DIRECTORY, 0);
    if (proc < 0)
        return false;
    struct statx top;
    long error = sys_fstat((int)proc, &top);
    sys_close((int)proc);
    return error < 0 || (top.stx_dev_major == found->stx_dev_major && top.stx_dev_minor == found->stx_dev_minor);
}

long open_target(struct context *context, struct target *target, const char *path, bool real, u32 mode, bool *existed) {
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    u64 resolve = real ? RESOLVE_NO_SYMLINKS : 0;
    long fd = open_inside((int)root, path, 0, resolve);
    if (existed)
        *existed = fd >= 0;
    if (fd == -ENOENT)
        fd = make_inside((int)root, path, 0, resolve, mode);
    if (fd == -ELOOP && real)
        return fail(context, -ELOOP, "", "it must be mounted on an ordinary directory, not through a symbolic link");
    if (fd < 0)
        return fail(context, fd, "open", path);
    *target = (struct target){(int)fd, (int)root, path, resolve};
    struct statx found, top;
    long error = sys_fstat((int)fd, &found);
    if (error >= 0)
        error = sys_fstat((int)root, &top);
    if (error < 0)
        fail(context, error, "statx", path);
    else if (same_place(&found, &top))
        error = fail(context, -EINVAL, "", "nothing may be mounted on the rootfs itself");
    else if (leads_to_proc((int)root, (int)fd, &found, path))
        error = fail(context, -EINVAL, "", "it leads into /proc, where nothing may be mounted under another name");
    else if ((found.stx_mode & S_IFMT) != S_IFDIR && (mode & S_IFMT) == S_IFDIR)
        error = fail(context, -ENOTDIR, "open", path);
    else if ((found.stx_mode & S_IFMT) == S_IFDIR && (mode & S_IFMT) != S_IFDIR)
        error = fail(context, -ENOTDIR, "mount", "a file cannot be mounted on a directory");
    if (error < 0)
        sys_close((int)fd);
    return error;
}

long reached_mount(struct context *context, const struct target *target, const struct statx *root) {
    long fd = open_inside(target->root, target->path, 0, target->resolve);
    if (fd < 0)
        return fail(context, fd, "open", target->path);
    struct statx below, reached;
    long error = sys_fstat(target->fd, &below);
    if (error >= 0)
        error = sys_fstat((int)fd, &reached);
    if (error < 0)
        fail(context, error, "statx", target->path);
    else if (same_place(&below, &reached) || (root != NULL && !same_place(root, &reached)))
        error = fail(context, -EXDEV, "verify", "the path does not lead to the new mount: it was changed meanwhile");
    if (error < 0)
        sys_close((int)fd);
    return error < 0 ? error : fd;
}

/* ---- mount(2) ---- */

long mount_by_fd(struct context *context, const char *source, int source_fd, int target, const char *type, u64 flags,
                 const void *data) {
    long directory = open_proc(context, false, "self/fd", O_PATH | O_DIRECTORY);
    if (directory < 0)
        return directory;
    STRING(from, 16);
    STRING(to, 16);
    put_number(&from, (u64)source_fd);
    put_number(&to, (u64)target);
    /* Relative, because /proc is not to be trusted. The working directory means nothing to any other step. */
    long home = sys_open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    long result = home < 0 ? home : sys_fchdir((int)directory);
    if (result >= 0) {
        result = sys_mount(source ? source : from.text, to.text, type, flags, data);
        long back = sys_fchdir((int)home);
        if (result >= 0)
            result = back;
    }
    if (home >= 0)
        sys_close((int)home);
    sys_close((int)directory);
    return result;
}

/* ---- attributes ---- */

/* The access time's four ways are one field to the kernel: naming any of them replaces it. */
static void complete(u64 *set, u64 *clear) {
    if ((*set | *clear) & MOUNT_ATTR__ATIME)
        *clear |= MOUNT_ATTR__ATIME;
}

/* Which of the flags that the mount has were to be cleared: in a user namespace those of its parent are locked. */
static long explain_locked(struct context *context, int fd, long error, u64 set, u64 clear) {
    struct statfs mount;
    STRING(text, 128);
    if (error != -EPERM || clear == 0 || sys_fstatfs(fd, &mount) < 0)
        return fail(context, error, "mount_setattr", "");
    put(&text, "cannot clear locked flags ");
    size_t start = text.length;
    for (int i = 0; i < FLAGS; i++)
        if (clear & ~set & flags[i].attribute && (u64)mount.f_flags & flags[i].statfs_flag) {
            put(&text, text.length > start ? "," : "");
            put(&text, flags[i].name);
        }
    if (clear & MOUNT_ATTR__ATIME) {
        put(&text, text.length > start ? "," : "");
        put(&text, mount.f_flags & MS_NOATIME ? "noatime" : mount.f_flags & ST_RELATIME ? "relatime" : "strictatime");
    }
    return fail(context, error, "mount_setattr", text.length > start ? text.text : "");
}

static long set_some(struct context *context, int fd, u64 set, u64 clear, u32 recursive) {
    if ((set | clear) == 0)
        return 0;
    complete(&set, &clear);
    struct mount_attr attributes = {set, clear, 0, 0};
    long result = sys_mount_setattr(fd, "", AT_EMPTY_PATH | recursive, &attributes);
    return result < 0 && result != -ENOSYS ? explain_locked(context, fd, result, set, clear) : result;
}

static long set_all(struct context *context, int fd, const struct attributes *attributes) {
    long result = set_some(context, fd, attributes->set, attributes->clear, 0);
    return result < 0 ? result : set_some(context, fd, attributes->all_set, attributes->all_clear, AT_RECURSIVE);
}

/* Before 5.12: by mount(2), which replaces all flags of an attached mount at once. */
static long set_by_remount(struct context *context, int fd, const struct attributes *attributes) {
    u64 set = attributes->set, clear = attributes->clear;
    if (attributes->all_set | attributes->all_clear) {
        static const char reason[] = "recursive attributes need Linux 5.12";
        if (!attributes->topmost_suffices)
            return fail(context, -ENOSYS, "mount_setattr", reason);
        warn(context, -ENOSYS, "mount_setattr", reason);
        set |= attributes->all_set;
        clear = (clear & ~attributes->all_set) | attributes->all_clear;
    }
    complete(&set, &clear);
    struct statfs mount;
    long result = sys_fstatfs(fd, &mount);
    if (result < 0)
        return fail(context, result, "fstatfs", "");
    u64 has = (u64)mount.f_flags, wanted = MS_REMOUNT | MS_BIND;
    for (int i = 0; i < FLAGS; i++)
        if (set & flags[i].attribute || (has & flags[i].statfs_flag && !(clear & flags[i].attribute)))
            wanted |= flags[i].mount_flag;
    if (clear & MOUNT_ATTR__ATIME)
        wanted |= set & MOUNT_ATTR_NOATIME ? MS_NOATIME : set & MOUNT_ATTR_STRICTATIME ? MS_STRICTATIME : MS_RELATIME;
    else
        wanted |= has & MS_NOATIME ? MS_NOATIME : has & ST_RELATIME ? MS_RELATIME : MS_STRICTATIME;
    result = mount_by_fd(context, "", -1, fd, NULL, wanted, NULL);
    return result < 0 ? explain_locked(context, fd, result, set, clear) : 0;
}

long set_attributes(struct context *context, int fd, const struct attributes *attributes) {
    long result = set_all(context, fd, attributes);
    return result == -ENOSYS ? set_by_remount(context, fd, attributes) : result;
}

long set_propagation(struct context *context, int fd, u64 flags) {
    struct mount_attr attributes = {0, 0, flags & ~(u64)MS_REC, 0};
    long result = sys_mount_setattr(fd, "", AT_EMPTY_PATH | (flags & MS_REC ? AT_RECURSIVE : 0), &attributes);
    if (result == -ENOSYS || result == -EPERM)
        result = mount_by_fd(context, "", -1, fd, NULL, flags, NULL);
    return result;
}

/* ---- attaching ---- */

long attach(struct context *context, int tree, const struct attributes *attributes, const struct target *target) {
    /* Before it is attached: where mounts are shared, its copies are as it is now. */
    long set = set_all(context, tree, attributes);
    if (set < 0 && set != -ENOSYS)
        return set;
    long result = sys_move_mount(tree, "", target->fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    if (result < 0)
        return fail(context, result, "move_mount", target->path);
    struct statx root;
    result = sys_fstat(tree, &root);
    if (result < 0)
        return fail(context, result, "statx", target->path);
    result = reached_mount(context, target, &root);
    if (result < 0)
        return result;
    sys_close((int)result);
    return set == -ENOSYS ? set_by_remount(context, tree, attributes) : 0;
}

static long bind_by_mount(struct context *context, int source, bool recursive, const struct attributes *attributes,
                          const struct target *target) {
    long result = mount_by_fd(context, NULL, source, target->fd, NULL, MS_BIND | (recursive ? MS_REC : 0), NULL);
    if (result < 0)
        return fail(context, result, "mount", target->path);
    struct statx root;
    result = sys_fstat(source, &root);
    if (result < 0)
        return fail(context, result, "statx", target->path);
    /* The same file, but by a new mount. */
    root.stx_mask &= ~(u32)STATX_MNT_ID;
    result = reached_mount(context, target, &root);
    if (result < 0)
        return result;
    int fd = (int)result;
    u64 any = attributes->set | attributes->clear | attributes->all_set | attributes->all_clear;
    result = any ? set_attributes(context, fd, attributes) : 0;
    sys_close(fd);
    return result;
}

long bind_fd(struct context *context, int source, bool recursive, const struct attributes *attributes,
             const struct target *target) {
    u32 how = AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
    long tree = sys_open_tree(source, "", how);
    /* EPERM: a filter of an outer container that does not know the call, or no rights, which mount(2) will tell. */
    if (tree == -ENOSYS || tree == -EPERM)
        return bind_by_mount(context, source, recursive, attributes, target);
    if (tree < 0)
        return fail(context, tree, "open_tree", target->path);
    long result = attach(context, (int)tree, attributes, target);
    sys_close((int)tree);
    return result;
}
