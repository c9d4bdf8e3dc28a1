/* Operations that mount, bind and change mounts below the rootfs. */

#include "init.h"

enum { OPTIONS_LIMIT = PATH_LIMIT + 32 };

/* `options` and what copy_mode adds to them. */
static char options_space[OPTIONS_LIMIT];

/* Whether one of the options is `mode`. */
static bool has_mode(const char *options) {
    for (const char *at = options; at; at = find(at, ',')) {
        if (*at == ',')
            at++;
        if (starts_with(at, "mode="))
            return true;
    }
    return false;
}

static void put_octal(struct string *string, u32 number) {
    for (int shift = 9; shift >= 0; shift -= 3) {
        char digit = (char)('0' + (number >> shift & 7));
        put_bytes(string, &digit, 1);
    }
}

static const char *options_with_mode(const char *options, int covered) {
    struct statx file;
    if (has_mode(options) || sys_fstat(covered, &file) < 0)
        return options;
    struct string text = {options_space, sizeof options_space, 0, false};
    put(&text, options);
    put(&text, options[0] ? ",mode=" : "mode=");
    put_octal(&text, file.stx_mode & 07777);
    return text.text;
}

/* Nobody has mounted it before, so all_set and all_clear may as well count from the start. */
static u64 final_attributes(const struct op_mount *op) {
    u64 attributes = op->attributes, set = op->all_set, clear = op->all_clear;
    if ((set | clear) & MOUNT_ATTR__ATIME)
        clear |= MOUNT_ATTR__ATIME;
    return (attributes & ~clear) | set;
}

long op_mount(struct context *context, const struct op_mount *op) {
    struct target target;
    bool existed;
    long result = open_target(context, &target, op->target, op->real_directory, S_IFDIR | 0755, &existed);
    if (result < 0)
        return result;
    struct filesystem filesystem = {op->fstype, op->source, op->options, op->superblock, final_attributes(op)};
    if (op->copy_mode && existed)
        filesystem.options = options_with_mode(op->options, target.fd);

    long root = new_filesystem(context, &filesystem);
    bool attached = root == -ENOSYS;
    if (attached)
        root = mount_filesystem(context, &filesystem, &target);
    result = root;
    if (result >= 0 && op->copy_up)
        result = copy_content(context, target.fd, (int)root);
    if (result >= 0 && !attached) {
        struct attributes none = {0, 0, 0, 0, false};
        result = attach(context, (int)root, &none, &target);
    }
    if (root >= 0)
        sys_close((int)root);
    sys_close(target.fd);
    return result < 0 ? result : 0;
}

/* Bind what is behind `source`, whose kind the target has or gets. */
static long bind_on(struct context *context, int source, const struct op_bind *op, struct target *target) {
    struct statx file;
    long result = sys_fstat(source, &file);
    if (result < 0)
        return fail(context, result, "statx", op->source);
    u32 mode = (file.stx_mode & S_IFMT) == S_IFDIR ? S_IFDIR | 0755 : S_IFREG | 0644;
    result = open_target(context, target, op->to, op->real_directory, mode, NULL);
    if (result < 0)
        return result;
    struct attributes attributes = {op->set | (op->read_only ? MOUNT_ATTR_RDONLY : 0), op->clear, op->all_set,
                                    op->all_clear, false};
    result = bind_fd(context, source, op->recursive, &attributes, target);
    /* Before 6.15 no tree that is attached nowhere can be cloned: it is attached itself. */
    if (result == -EINVAL && op->tree >= 0)
        result = attach(context, source, &attributes, target);
    sys_close(target->fd);
    return result;
}

long op_bind(struct context *context, const struct op_bind *op) {
    struct target target;
    if (op->tree >= 0) {
        int tree = slot_fd(context, op->tree);
        return tree < 0 ? fail(context, tree, "", "no file descriptor of the source")
                        : bind_on(context, tree, op, &target);
    }
    long source = sys_open(op->source, O_PATH | O_CLOEXEC);
    if (source < 0)
        return fail(context, source, "open", op->source);
    long result = bind_on(context, (int)source, op, &target);
    sys_close((int)source);
    return result;
}

/* Resolve what must be there. */
static long open_existing(struct context *context, const char *path) {
    long root = rootfs_of(context);
    if (root < 0)
        return root;
    long fd = open_inside((int)root, path, 0, 0);
    return fd < 0 ? fail(context, fd, "open", path) : fd;
}

long op_bind_inside(struct context *context, const struct op_bind_inside *op) {
    long source = open_existing(context, op->source);
    if (source < 0)
        return source;
    struct target target;
    struct statx file;
    long result = sys_fstat((int)source, &file);
    if (result < 0)
        fail(context, result, "statx", op->source);
    else {
        u32 mode = (file.stx_mode & S_IFMT) == S_IFDIR ? S_IFDIR | 0755 : S_IFREG | 0644;
        result = open_target(context, &target, op->to, false, mode, NULL);
    }
    if (result >= 0) {
        struct attributes attributes = {op->set, 0, 0, 0, false};
        result = bind_fd(context, (int)source, op->recursive, &attributes, &target);
        sys_close(target.fd);
    }
    sys_close((int)source);
    return result;
}

long op_remount(struct context *context, const struct op_remount *op) {
    long fd = open_existing(context, op->path);
    if (fd < 0)
        return fd;
    const char *data = op->options[0] ? op->options : NULL;
    long result = strlen(op->options) < PATH_LIMIT
                      ? mount_by_fd(context, "", -1, (int)fd, NULL, op->flags | MS_REMOUNT, data)
                      : -E2BIG;
    sys_close((int)fd);
    return result < 0 ? fail(context, result, "mount", op->path) : 0;
}

long op_set_attributes(struct context *context, const struct op_set_attributes *op) {
    long fd = open_existing(context, op->path);
    if (fd < 0)
        return fd;
    struct attributes attributes = {op->set, op->clear, 0, 0, false};
    if (op->recursive)
        attributes = (struct attributes){0, 0, op->set, op->clear, false};
    long result = set_attributes(context, (int)fd, &attributes);
    sys_close((int)fd);
    return result;
}

long op_set_propagation(struct context *context, const struct op_set_propagation *op) {
    long fd = open_existing(context, op->path);
    if (fd < 0)
        return fd;
    long result = set_propagation(context, (int)fd, op->flags);
    sys_close((int)fd);
    return result < 0 ? fail(context, result, "mount_setattr", op->path) : 0;
}

long op_set_host_propagation(struct context *context, const struct op_set_host_propagation *op) {
    long result = sys_mount("", "/", NULL, op->flags, NULL);
    return result < 0 ? fail(context, result, "mount", "/") : 0;
}
