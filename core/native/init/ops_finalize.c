/* Operations in the new root: masked and read-only paths, sysctls, labels, /dev/null. */

#include "init.h"

/* ---- /dev/null ---- */

static bool is_null(int fd) {
    struct statx file;
    return sys_fstat(fd, &file) == 0 && is_device(&file, S_IFCHR, 1, 3);
}

static long fail_null(struct context *context, long error) {
    if (error == -ENODEV)
        return fail(context, NO_ERRNO, "verify", "the container's /dev/null is not the character device 1:3");
    return fail(context, error, "open", "/dev/null");
}

long op_reopen_dev_null(struct context *context, const struct op_reopen_dev_null *op) {
    (void)op;
    if (!is_null(0) && !is_null(1) && !is_null(2))
        return 0;
    long root = container_root(context);
    if (root < 0)
        return root;
    long directory = open_inside((int)root, "/dev", O_DIRECTORY, 0);
    if (directory < 0)
        return fail(context, directory, "open", "/dev");
    /* No link is followed, and nothing but the null device becomes what ChownStdio looks at (CVE-2026-88265). */
    long null = open_device((int)directory, "null", is_null);
    sys_close((int)directory);
    if (null < 0)
        return fail_null(context, null);
    long result = 0;
    for (int fd = 0; fd < 3 && result >= 0; fd++)
        if (is_null(fd))
            result = sys_dup3((int)null, fd, 0);
    sys_close((int)null);
    return result < 0 ? fail(context, result, "dup3", "/dev/null") : 0;
}

/* ---- masked and read-only paths ---- */

/* Open what is to be covered. Returns 0 when it is missing, 1 when `target` is filled in; fails in the context. */
static long open_covered(struct context *context, struct target *target, const char *path, struct statx *file) {
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    long fd = open_inside((int)root, path, 0, 0);
    if (fd == -ENOENT || fd == -ENOTDIR)
        return 0;
    if (fd < 0)
        return fail(context, fd, "open", path);
    *target = (struct target){(int)fd, (int)root, path, 0};
    struct statx top;
    long result = sys_fstat((int)fd, file);
    if (result >= 0)
        result = sys_fstat((int)root, &top);
    if (result < 0)
        fail(context, result, "statx", path);
    else if (same_place(file, &top))
        result = fail(context, -EINVAL, "", "nothing may be mounted on the rootfs itself");
    if (result < 0)
        sys_close((int)fd);
    return result < 0 ? result : 1;
}

/* The first masked directory's tmpfs serves all: as one mount each of the same empty filesystem. */
static long make_mask(struct context *context, const struct target *target, const char *more) {
    static const struct attributes none;
    /* Ubuntu's kernels 5.4 count an inode that others do not. */
    static const char options[2][40] = {"nr_blocks=1,nr_inodes=1,mode=755", "nr_blocks=1,nr_inodes=2,mode=755"};
    struct filesystem tmpfs = {"tmpfs", "tmpfs", options[0], MS_RDONLY,
                               MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
    long root = 0;
    for (int i = 0; i < 2; i++) {
        STRING(all, PATH_LIMIT);
        put(&all, options[i]);
        put(&all, *more ? "," : "");
        put(&all, more);
        if (all.cut)
            return fail(context, -E2BIG, "", "mount options");
        tmpfs.options = all.text;
        root = new_filesystem(context, &tmpfs);
        if (root == -ENOSYS) {
            root = mount_filesystem(context, &tmpfs, target);
            if (root >= 0)
                context->mask = (int)root;
        } else if (root >= 0) {
            context->mask = (int)root;
            root = attach(context, (int)root, &none, target);
        }
        if (root != -ENOSPC && root != -ENOMEM)
            break;
    }
    return root < 0 ? root : 0;
}

long op_mask_path(struct context *context, const struct op_mask_path *op) {
    static const struct attributes none;
    struct target target;
    struct statx file;
    long result = open_covered(context, &target, op->path, &file);
    if (result <= 0)
        return result;
    if ((file.stx_mode & S_IFMT) == S_IFDIR)
        result = context->mask < 0 ? make_mask(context, &target, op->options)
                                   : bind_fd(context, context->mask, false, &none, &target);
    else {
        /* Not followed, and nothing else under its name (CVE-2025-31133). */
        long null = open_inside(target.root, "/dev/null", O_NOFOLLOW, 0);
        if (null < 0)
            result = fail_null(context, null);
        else {
            result = is_null((int)null) ? bind_fd(context, (int)null, false, &none, &target)
                                        : fail_null(context, -ENODEV);
            sys_close((int)null);
        }
    }
    sys_close(target.fd);
    return result;
}

long op_readonly_path(struct context *context, const struct op_readonly_path *op) {
    static const struct attributes attributes = {.all_set = MOUNT_ATTR_RDONLY, .topmost_suffices = true};
    struct target target;
    struct statx file;
    long result = open_covered(context, &target, op->path, &file);
    if (result <= 0)
        return result;
    result = bind_fd(context, target.fd, true, &attributes, &target);
    sys_close(target.fd);
    return result;
}

/* ---- what is written to procfs ---- */

/* Whether it is a relative path of plain names. */
static bool plain(const char *path) {
    for (;;) {
        const char *end = path;
        while (*end && *end != '/')
            end++;
        size_t length = (size_t)(end - path);
        if (length == 0 || (length == 1 && path[0] == '.') || (length == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        if (*end == 0)
            return true;
        path = end + 1;
    }
}

/* Write `text` to a file of procfs in one write. -ENOENT is for the caller to decide. */
static long write_proc(struct context *context, bool full, const char *path, const char *text) {
    long fd = open_proc(context, full, path, O_WRONLY);
    if (fd < 0)
        return fd;
    long result = sys_write((int)fd, text, strlen(text));
    sys_close((int)fd);
    return result < 0 ? fail(context, result, "write", path) : 0;
}

long op_set_sysctl(struct context *context, const struct op_set_sysctl *op) {
    STRING(path, PATH_LIMIT);
    put(&path, "sys/");
    put(&path, op->path);
    if (!plain(op->path) || path.cut)
        return fail(context, -EINVAL, "", "not the path of a sysctl");
    return write_proc(context, true, path.text, op->value);
}

long op_set_exec_label(struct context *context, const struct op_set_exec_label *op) {
    STRING(path, 128);
    put(&path, "self/attr/");
    put(&path, op->name);
    if (!plain(op->name) || path.cut)
        return fail(context, -EINVAL, "", "not the name of an attribute");
    long result = write_proc(context, false, path.text, op->label);
    /* Kernels before 5.8 have one file for all modules. */
    if (result == -ENOENT && strcmp(op->name, "apparmor/exec") == 0)
        result = write_proc(context, false, "self/attr/exec", op->label);
    return result;
}
