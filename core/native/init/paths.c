/* Paths of an image, resolved inside its root by file descriptors.
 *
 * openat2(2) with RESOLVE_IN_ROOT does it in one call. What it cannot do is make what is missing, and kernels before
 * 5.6 (and filters of an outer container) do not have it. The walk below does both. It is safe among processes that
 * rename directories meanwhile because it only ever asks the kernel for one component at a time, below a directory
 * that it holds, and never for a symbolic link's target nor for `..`, which of a directory moved out of the root
 * leads anywhere (CVE-2024-45310, CVE-2021-30465): links are read and spelled out, `..` starts again from the root.
 */

#include "init.h"

enum {
    LINK_LIMIT = 40, /* the kernel's own */
    RETRY_LIMIT = 32,
    NAME_LIMIT = 256,
    LEFT_LIMIT = 2 * PATH_LIMIT,
};

#define O_PLACE (O_PATH | O_CLOEXEC)

/* Static: nothing here runs twice at once, and a stack may be small. */
static char left_space[2][LEFT_LIMIT]; /* what is still to be walked, and its successor when a link is spelled out */
static char done_space[PATH_LIMIT];
static char prefix_space[PATH_LIMIT];
static char last_name[NAME_LIMIT];

struct walk {
    int root;
    int at;             /* O_PATH on what was reached */
    int flags;
    u64 resolve;
    u32 mode;           /* of what is made at the end, 0 to make nothing */
    u32 links;
    const char *left;
    u32 space;          /* which of left_space holds `left` */
    struct string done; /* the way from the root to `at`, without links: "/a/b" */
};

bool same_place(const struct statx *a, const struct statx *b) {
    if (a->stx_ino != b->stx_ino || a->stx_dev_major != b->stx_dev_major || a->stx_dev_minor != b->stx_dev_minor)
        return false;
    return !(a->stx_mask & b->stx_mask & STATX_MNT_ID) || a->stx_mnt_id == b->stx_mnt_id;
}

bool is_device(const struct statx *file, u32 kind, u64 major, u64 minor) {
    if ((file->stx_mode & S_IFMT) != kind)
        return false;
    return kind == S_IFIFO || (file->stx_rdev_major == major && file->stx_rdev_minor == minor);
}

long make_exactly(int directory, const char *name, u32 mode, u64 device) {
    u32 mask = sys_umask(0);
    long result = (mode & S_IFMT) == S_IFDIR ? sys_mkdirat(directory, name, mode & 07777)
                                             : sys_mknodat(directory, name, mode, device);
    sys_umask(mask);
    return result;
}

static void reach(struct walk *walk, int fd) {
    if (walk->at >= 0)
        sys_close(walk->at);
    walk->at = fd;
}

static long reach_root(struct walk *walk) {
    long fd = sys_openat(walk->root, ".", O_PLACE | O_DIRECTORY, 0);
    if (fd >= 0)
        reach(walk, (int)fd);
    return fd;
}

static void cut(struct string *string, size_t length) {
    string->length = length;
    string->text[length] = 0;
}

/* Copy the component that `text` begins with. Returns what follows it, NULL when it is too long. */
static const char *component(const char *text, char name[NAME_LIMIT]) {
    size_t length = 0;
    for (; text[length] && text[length] != '/'; length++) {
        if (length == NAME_LIMIT - 1)
            return NULL;
        name[length] = text[length];
    }
    name[length] = 0;
    return text + length;
}

static const char *skip_slashes(const char *text) {
    while (*text == '/')
        text++;
    return text;
}

/* `..`: from the root again, one component less. What became a link meanwhile is refused, not followed. */
static long ascend(struct walk *walk) {
    char *slash = find_last(walk->done.text, '/');
    cut(&walk->done, slash ? (size_t)(slash - walk->done.text) : 0);
    long fd = reach_root(walk);
    const char *left = skip_slashes(walk->done.text);
    while (fd >= 0 && *left) {
        char name[NAME_LIMIT];
        left = skip_slashes(component(left, name));
        fd = sys_openat(walk->at, name, O_PLACE | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd >= 0)
            reach(walk, (int)fd);
    }
    return fd;
}

/* Put the text of the link behind `fd` before what is left. */
static long spell_out(struct walk *walk, int fd) {
    if (walk->resolve & RESOLVE_NO_SYMLINKS || ++walk->links > LINK_LIMIT)
        return -ELOOP;
    u32 space = !walk->space;
    struct string left = {left_space[space], LEFT_LIMIT, 0, false};
    long size = sys_readlinkat(fd, "", left.text, PATH_LIMIT);
    if (size <= 0)
        return size < 0 ? size : -ENOENT;
    if (size == PATH_LIMIT)
        return -ENAMETOOLONG;
    left.length = (size_t)size;
    left.text[size] = 0;
    put(&left, walk->left);
    if (left.cut)
        return -ENAMETOOLONG;
    walk->left = left.text;
    walk->space = space;
    if (left.text[0] != '/')
        return 0;
    cut(&walk->done, 0);
    return reach_root(walk);
}

/* One component below `at`, made when it is missing and may be. Returns it unfollowed. */
static long step_into(struct walk *walk, const char *name, bool last) {
    long fd = sys_openat(walk->at, name, O_PLACE | O_NOFOLLOW, 0);
    if (fd != -ENOENT || walk->mode == 0)
        return fd;
    long error = make_exactly(walk->at, name, last ? walk->mode : S_IFDIR | 0755, 0);
    if (error < 0 && error != -EEXIST)
        return error;
    return sys_openat(walk->at, name, O_PLACE | O_NOFOLLOW, 0);
}

/* Walk to the end. On success `at` is what was asked for. */
static long walk_on(struct walk *walk) {
    for (;;) {
        char name[NAME_LIMIT];
        walk->left = skip_slashes(walk->left);
        if (*walk->left == 0)
            return 0;
        walk->left = component(walk->left, name);
        if (walk->left == NULL)
            return -ENAMETOOLONG;
        if (strcmp(name, ".") == 0)
            continue;
        if (strcmp(name, "..") == 0) {
            long error = ascend(walk);
            if (error < 0)
                return error;
            continue;
        }
        bool slash = *walk->left == '/'; /* a directory is meant, or something in it */
        bool last = *skip_slashes(walk->left) == 0;
        long fd = step_into(walk, name, last);
        struct statx file = {.stx_mode = 0};
        long error = fd < 0 ? fd : sys_fstat((int)fd, &file);
        u32 kind = file.stx_mode & S_IFMT;
        if (error == 0 && kind == S_IFLNK && (slash || !(walk->flags & O_NOFOLLOW))) {
            error = spell_out(walk, (int)fd);
            sys_close((int)fd);
            if (error < 0)
                return error;
            continue;
        }
        if (error == 0 && kind != S_IFDIR && (slash || walk->flags & O_DIRECTORY))
            error = -ENOTDIR;
        if (error < 0) {
            if (fd >= 0)
                sys_close((int)fd);
            return error;
        }
        put(&walk->done, "/");
        put(&walk->done, name);
        reach(walk, (int)fd);
        if (walk->done.cut)
            return -ENAMETOOLONG;
    }
}

static long walk_inside(int root, const char *path, int flags, u64 resolve, u32 mode) {
    struct walk walk = {root, -1, flags, resolve, mode, 0, left_space[0], 0, {done_space, PATH_LIMIT, 0, false}};
    size_t length = strlen(path);
    if (length == 0)
        return -ENOENT;
    if (length >= PATH_LIMIT)
        return -ENAMETOOLONG;
    memcpy(left_space[0], path, length + 1);
    cut(&walk.done, 0);
    long error = reach_root(&walk);
    if (error >= 0)
        error = walk_on(&walk);
    if (error < 0 && walk.at >= 0)
        sys_close(walk.at);
    return error < 0 ? error : walk.at;
}

long open_inside(int root, const char *path, int flags, u64 resolve) {
    resolve |= RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    for (int i = 0; i < RETRY_LIMIT; i++) {
        /* EAGAIN: something was renamed while the kernel resolved `..`. */
        long fd = sys_openat2(root, path, (u64)(O_PLACE | flags), 0, resolve);
        if (fd == -ENOSYS || fd == -EPERM)
            break;
        if (fd != -EAGAIN)
            return fd;
    }
    return walk_inside(root, path, flags, resolve, 0);
}

long make_inside(int root, const char *path, int flags, u64 resolve, u32 mode) {
    long fd = open_inside(root, path, flags, resolve);
    return fd == -ENOENT ? walk_inside(root, path, flags, resolve, mode) : fd;
}

long parent_inside(int root, const char *path, const char **name) {
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    size_t length = end - begin;
    if (length >= NAME_LIMIT || begin + 1 >= PATH_LIMIT)
        return -ENAMETOOLONG;
    memcpy(last_name, path + begin, length);
    last_name[length] = 0;
    if (length == 0 || strcmp(last_name, ".") == 0 || strcmp(last_name, "..") == 0)
        return -EINVAL;
    *name = last_name;
    prefix_space[0] = '/';
    memcpy(prefix_space + 1, path, begin);
    prefix_space[begin + 1] = 0;
    return make_inside(root, prefix_space, O_DIRECTORY, 0, S_IFDIR | 0755);
}

long rootfs_of(struct context *context) {
    if (context->rootfs < 0)
        return fail(context, NO_ERRNO, "", "no step has opened the rootfs");
    return context->rootfs;
}

long container_root(struct context *context) {
    /* Apart from the rootfs: what is made and mounted needs one that a step has opened. */
    static int root;
    if (context->rootfs >= 0)
        return context->rootfs;
    if (root == 0) {
        long fd = sys_open("/", O_PLACE | O_DIRECTORY);
        if (fd < 0)
            return fail(context, fd, "open", "/");
        root = (int)fd;
    }
    return root;
}

long open_device(int directory, const char *name, bool (*genuine)(int fd)) {
    long place = sys_openat(directory, name, O_PLACE | O_NOFOLLOW, 0);
    if (place < 0)
        return place;
    bool first = genuine((int)place);
    sys_close((int)place);
    if (!first)
        return -ENODEV;
    long fd = sys_openat(directory, name, O_RDWR | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    if (genuine((int)fd)) {
        sys_fcntl((int)fd, F_SETFL, 0);
        return fd;
    }
    sys_close((int)fd);
    return -ENODEV;
}
