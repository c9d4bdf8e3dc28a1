/* Operations that open the rootfs and make what stands in it: directories, files, links, devices. */

#include "init.h"

#define FRESH (O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)

/* ---- the rootfs itself ---- */

/* Of the mount that the directory behind `fd` lies on: up to where it begins. Closes fd. */
static long make_mount_private(struct context *context, int fd) {
    for (;;) {
        long result = set_propagation(context, fd, MS_PRIVATE);
        struct statx here, above;
        long parent = result == -EINVAL ? sys_openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0) : result;
        if (parent >= 0 && result == -EINVAL &&
            (sys_fstat(fd, &here) < 0 || sys_fstat((int)parent, &above) < 0 || same_place(&here, &above))) {
            /* `/` is no mount's root: we live in a chroot(2). */
            sys_close((int)parent);
            parent = -EINVAL;
        }
        sys_close(fd);
        if (result != -EINVAL || parent < 0)
            return parent;
        fd = (int)parent;
    }
}

static long open_path(struct context *context, const char *path) {
    long fd = sys_open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(context, fd, "open", path);
    if (context->rootfs >= 0)
        sys_close(context->rootfs);
    context->rootfs = (int)fd;
    context->rootfs_path = path;
    return fd;
}

long op_open_rootfs(struct context *context, const struct op_open_rootfs *op) {
    long fd = open_path(context, op->path);
    return fd < 0 ? fd : 0;
}

static long bind_itself(struct context *context, int directory, const char *path) {
    u32 how = AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
    long tree = sys_open_tree(directory, "", how);
    if (tree == -ENOSYS || tree == -EPERM) {
        long result = mount_by_fd(context, NULL, directory, directory, NULL, MS_BIND | MS_REC, NULL);
        return result < 0 ? fail(context, result, "mount", path) : sys_open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (tree < 0)
        return fail(context, tree, "open_tree", path);
    long result = sys_move_mount((int)tree, "", directory, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    if (result < 0) {
        sys_close((int)tree);
        return fail(context, result, "move_mount", path);
    }
    /* The new mount's root. */
    return tree;
}

long op_bind_rootfs(struct context *context, const struct op_bind_rootfs *op) {
    long directory = open_path(context, op->path);
    if (directory < 0)
        return directory;
    /* pivot_root(2) wants it so, and nothing that is mounted in the rootfs must get out of our namespace. */
    long copy = sys_openat((int)directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    long result = copy < 0 ? copy : make_mount_private(context, (int)copy);
    if (result < 0)
        return fail(context, result, "make private", op->path);
    long root = bind_itself(context, (int)directory, op->path);
    if (root < 0)
        return root;
    struct statx before, after;
    if (sys_fstat((int)directory, &before) < 0 || sys_fstat((int)root, &after) < 0 ||
        before.stx_ino != after.stx_ino || before.stx_dev_major != after.stx_dev_major ||
        before.stx_dev_minor != after.stx_dev_minor)
        return fail(context, -EXDEV, "verify", op->path);
    sys_close((int)directory);
    context->rootfs = (int)root;
    return 0;
}

/* ---- directories, files, links ---- */

long op_mkdir(struct context *context, const struct op_mkdir *op) {
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    long fd = make_inside((int)root, op->path, O_DIRECTORY, 0, S_IFDIR | (u32)(op->mode & 07777));
    if (fd < 0)
        return fail(context, fd, "mkdir", op->path);
    sys_close((int)fd);
    return 0;
}

long op_set_xattr(struct context *context, const struct op_set_xattr *op) {
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    long place = open_inside((int)root, op->path, 0, 0);
    if (place < 0)
        return fail(context, place, "open", op->path);
    struct statx file;
    long error = sys_fstat((int)place, &file);
    u32 kind = file.stx_mode & S_IFMT;
    /* To open a device or a FIFO may have effects, or never end. */
    if (error == 0 && kind != S_IFDIR && kind != S_IFREG)
        error = -EINVAL;
    if (error < 0)
        fail(context, error, "open", op->path);
    else
        error = reopen(context, (int)place, O_RDONLY);
    sys_close((int)place);
    if (error < 0)
        return error;
    int fd = (int)error;
    error = sys(__NR_fsetxattr, fd, op->name, op->value.data, op->value.size, 0);
    sys_close(fd);
    return error < 0 ? fail(context, error, "fsetxattr", op->name) : 0;
}

/* The directory of the last component of `path`; fails in the context. */
static long open_parent(struct context *context, const char *path, const char **name) {
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    long directory = parent_inside((int)root, path, name);
    return directory < 0 ? fail(context, directory, "open", path) : directory;
}

/* Open the file for writing: a new one, or the regular file that is there. */
static long open_regular(struct context *context, int directory, const char *name, u32 mode) {
    u32 mask = sys_umask(0);
    long fd = sys_openat(directory, name, O_WRONLY | FRESH, mode & 07777);
    sys_umask(mask);
    if (fd != -EEXIST)
        return fd < 0 ? fail(context, fd, "open", name) : fd;
    /* Looked at before it is opened, since to open a device may have effects. */
    long found = sys_openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (found < 0)
        return fail(context, found, "open", name);
    struct statx file;
    long result = sys_fstat((int)found, &file);
    if (result < 0)
        fail(context, result, "statx", name);
    else if ((file.stx_mode & S_IFMT) != S_IFREG)
        result = fail(context, -EEXIST, "open", "it is there and no regular file");
    else
        result = reopen(context, (int)found, O_WRONLY | O_TRUNC);
    sys_close((int)found);
    return result;
}

long op_write_file(struct context *context, const struct op_write_file *op) {
    const char *name;
    long directory = open_parent(context, op->path, &name);
    if (directory < 0)
        return directory;
    long fd = open_regular(context, (int)directory, name, (u32)op->mode);
    sys_close((int)directory);
    if (fd < 0)
        return fd;
    long result = 0;
    for (u64 done = 0; done < op->content.size && result >= 0; done += (u64)result) {
        result = sys_write((int)fd, op->content.data + done, op->content.size - done);
        if (result == -EINTR)
            result = 0;
    }
    sys_close((int)fd);
    return result < 0 ? fail(context, result, "write", op->path) : 0;
}

/* Whether `name` is a link to `target` already. */
static bool leads_to(int directory, const char *name, const char *target) {
    char text[PATH_LIMIT];
    long size = sys_readlinkat(directory, name, text, sizeof text);
    return size >= 0 && (u64)size == strlen(target) && memcmp(text, target, (u64)size) == 0;
}

long op_symlink(struct context *context, const struct op_symlink *op) {
    const char *name;
    long directory = open_parent(context, op->path, &name);
    if (directory < 0)
        return directory;
    long result = sys_symlinkat(op->target, (int)directory, name);
    const char *call = "symlink";
    if (result == -EEXIST && (!op->replace || leads_to((int)directory, name, op->target)))
        result = 0;
    if (result == -EEXIST) {
        call = "unlink";
        result = sys_unlinkat((int)directory, name, 0);
        if (result == -EISDIR)
            result = sys_unlinkat((int)directory, name, AT_REMOVEDIR);
        if (result == 0) {
            call = "symlink";
            result = sys_symlinkat(op->target, (int)directory, name);
        }
    }
    sys_close((int)directory);
    return result < 0 ? fail(context, result, call, op->path) : 0;
}

/* ---- devices ---- */

/* The node `name`, verified; fails in the context, also when it is something else. */
static long verify_device(struct context *context, const struct op_make_device *op, int directory, const char *name,
                          struct statx *file) {
    long fd = sys_openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return fail(context, fd, "open", op->path);
    long result = sys_fstat((int)fd, file);
    if (result < 0)
        fail(context, result, "statx", op->path);
    else if (!is_device(file, (u32)op->kind, op->major, op->minor))
        result = fail(context, -EEXIST, "mknod", "it is there and something else");
    if (result < 0)
        sys_close((int)fd);
    return result < 0 ? result : fd;
}

/* A file to bind the node on. An empty one may be there, which an earlier container left in a rootfs without a /dev of
 * its own; nothing but files is covered. */
static long make_place(struct context *context, const struct op_make_device *op, int directory, const char *name) {
    long result = make_exactly(directory, name, S_IFREG | 0644, 0);
    if (result < 0 && result != -EEXIST)
        return fail(context, result, "mknod", op->path);
    long fd = sys_openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return fail(context, fd, "open", op->path);
    struct statx file;
    result = sys_fstat((int)fd, &file);
    if (result < 0)
        fail(context, result, "statx", op->path);
    else if ((file.stx_mode & S_IFMT) != S_IFREG)
        result = fail(context, -EEXIST, "bind", "it is there and something else");
    if (result < 0)
        sys_close((int)fd);
    return result < 0 ? result : fd;
}

static long bind_device(struct context *context, const struct op_make_device *op, int directory, const char *name) {
    static const struct attributes none;
    struct statx file;
    /* A node that is there is kept, in user namespaces too. */
    if (sys_statx(directory, name, AT_SYMLINK_NOFOLLOW, &file) == 0 &&
        is_device(&file, (u32)op->kind, op->major, op->minor))
        return 0;
    long source = sys_open(op->source, O_PATH | O_CLOEXEC);
    if (source < 0)
        return fail(context, source, "open", op->source);
    long result = sys_fstat((int)source, &file);
    if (result < 0)
        fail(context, result, "statx", op->source);
    else if (!is_device(&file, (u32)op->kind, op->major, op->minor))
        result = fail(context, -ENODEV, "bind", "the host's node is of another kind or has other numbers");
    else
        result = make_place(context, op, directory, name);
    if (result >= 0) {
        /* Below the directory, not the root: how that was reached does not matter any more. */
        struct target target = {(int)result, directory, name, RESOLVE_NO_SYMLINKS};
        result = bind_fd(context, (int)source, false, &none, &target);
        sys_close(target.fd);
    }
    sys_close((int)source);
    return result;
}

static bool valid_device(const struct op_make_device *op) {
    if (op->kind == S_IFIFO)
        return true;
    return (op->kind == S_IFCHR || op->kind == S_IFBLK) && op->major < 1 << 12 && op->minor < 1 << 20;
}

static long make_device(struct context *context, const struct op_make_device *op, int directory, const char *name) {
    u64 device = op->kind == S_IFIFO ? 0 : DEVICE(op->major, op->minor);
    long result = op->bind ? -EPERM : make_exactly(directory, name, (u32)(op->kind | (op->mode & 07777)), device);
    bool made = result == 0;
    if (result == -EPERM && op->source[0]) {
        result = bind_device(context, op, directory, name);
        if (result < 0)
            return result;
    }
    if (result < 0 && result != -EEXIST)
        return fail(context, result, "mknod", op->path);
    struct statx file;
    long fd = verify_device(context, op, directory, name, &file);
    if (fd < 0)
        return fd;
    result = 0;
    if (made && (file.stx_uid != op->uid || file.stx_gid != op->gid))
        result = sys_fchownat((int)fd, "", (u32)op->uid, (u32)op->gid, AT_EMPTY_PATH);
    sys_close((int)fd);
    return result < 0 ? fail(context, result, "fchownat", op->path) : 0;
}

long op_make_device(struct context *context, const struct op_make_device *op) {
    if (!valid_device(op))
        return fail(context, -EINVAL, "mknod", "kind or numbers");
    const char *name;
    long directory = open_parent(context, op->path, &name);
    if (directory < 0)
        return directory;
    long result = make_device(context, op, (int)directory, name);
    sys_close((int)directory);
    return result;
}
