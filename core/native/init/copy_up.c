/* Copy a directory's content into a new filesystem: regular files, directories, links, nodes, with owner, mode and times.
 *
 * The source is the image's: nothing in it is followed, and only regular files are opened. Depth is limited, and there is
 * no recursion: each level remembers where its directory was left.
 */

#include "init.h"

enum {
    DEPTH_LIMIT = 100, /* two descriptors each, of the 1024 that a process usually has */
    ENTRIES_SIZE = 2048,
    SENDFILE_SIZE = 1 << 30,
};

struct entry {
    u64 ino;
    i64 next; /* lseek(2) to it continues behind this entry */
    u16 size;
    u8 type;
    char name[];
};

struct level {
    int from, to;
    struct timespec times[2]; /* of `to`, set when nothing is written into it any more */
};

static struct level levels[DEPTH_LIMIT];
static char link_space[PATH_LIMIT];

static void take_times(struct timespec times[2], const struct statx *file) {
    times[0] = (struct timespec){file->stx_atime.seconds, file->stx_atime.nanoseconds};
    times[1] = (struct timespec){file->stx_mtime.seconds, file->stx_mtime.nanoseconds};
}

/* Owner, then mode, since a change of owner takes set-uid bits away. */
static long dress(int fd, const struct statx *file) {
    long result = sys_fchown(fd, file->stx_uid, file->stx_gid);
    return result < 0 ? result : sys_fchmod(fd, file->stx_mode & 07777);
}

static long copy_bytes(int from, int to) {
    for (;;) {
        long size = sys(__NR_sendfile, to, from, NULL, SENDFILE_SIZE);
        if (size <= 0)
            return size;
    }
}

static long copy_regular(struct context *context, int source, const struct statx *file, int to, const char *name) {
    long from = reopen(context, source, O_RDONLY);
    if (from < 0)
        return from;
    long fd = sys_openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    long result = fd < 0 ? fd : copy_bytes((int)from, (int)fd);
    if (result >= 0)
        result = dress((int)fd, file);
    struct timespec times[2];
    take_times(times, file);
    if (result >= 0)
        result = sys_utimensat((int)fd, NULL, times, 0);
    if (fd >= 0)
        sys_close((int)fd);
    sys_close((int)from);
    return result < 0 ? fail(context, result, "copy", name) : 0;
}

static long copy_link(struct context *context, int source, const struct statx *file, int to, const char *name) {
    long size = sys_readlinkat(source, "", link_space, sizeof link_space);
    long result = size == sizeof link_space ? -ENAMETOOLONG : size;
    if (result >= 0) {
        link_space[size] = 0;
        result = sys_symlinkat(link_space, to, name);
    }
    if (result >= 0)
        result = sys_fchownat(to, name, file->stx_uid, file->stx_gid, AT_SYMLINK_NOFOLLOW);
    struct timespec times[2];
    take_times(times, file);
    if (result >= 0)
        result = sys_utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
    return result < 0 ? fail(context, result, "copy", name) : 0;
}

static long copy_node(struct context *context, const struct statx *file, int to, const char *name) {
    long result = make_exactly(to, name, file->stx_mode, DEVICE(file->stx_rdev_major, file->stx_rdev_minor));
    /* User namespaces may make no device nodes, and could not use them. */
    if (result == -EPERM)
        return 0;
    if (result >= 0)
        result = sys_fchownat(to, name, file->stx_uid, file->stx_gid, AT_SYMLINK_NOFOLLOW);
    struct timespec times[2];
    take_times(times, file);
    if (result >= 0)
        result = sys_utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
    return result < 0 ? fail(context, result, "copy", name) : 0;
}

/* Open both sides of a level. `to` is open for reading, because times cannot be set on an O_PATH descriptor. */
static long open_level(struct level *level, int from, int to) {
    long fd = sys_openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    level->from = (int)fd;
    fd = sys_openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        sys_close(level->from);
        return fd;
    }
    level->to = (int)fd;
    return 0;
}

static void close_level(struct level *level) {
    sys_close(level->from);
    sys_close(level->to);
}

static long make_level(struct level *level, int source, const struct statx *file, int to, const char *name) {
    long result = sys_mkdirat(to, name, 0700);
    if (result < 0)
        return result;
    long made = sys_openat(to, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (made < 0)
        return made;
    result = open_level(level, source, (int)made);
    sys_close((int)made);
    if (result < 0)
        return result;
    take_times(level->times, file);
    result = dress(level->to, file);
    if (result < 0)
        close_level(level);
    return result;
}

/* Copy one entry of `level`. Returns 1 when it is a directory, which `below` is now. */
static long copy_entry(struct context *context, const struct level *level, struct level *below, const char *name) {
    long source = sys_openat(level->from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (source < 0)
        return fail(context, source, "copy", name);
    struct statx file;
    long result = sys_fstat((int)source, &file);
    if (result < 0)
        fail(context, result, "copy", name);
    else
        switch (file.stx_mode & S_IFMT) {
        case S_IFDIR:
            result = below ? make_level(below, (int)source, &file, level->to, name) : -ELOOP;
            result = result < 0 ? fail(context, result, "copy", name) : 1;
            break;
        case S_IFREG:
            result = copy_regular(context, (int)source, &file, level->to, name);
            break;
        case S_IFLNK:
            result = copy_link(context, (int)source, &file, level->to, name);
            break;
        case S_IFSOCK:
            /* Nobody listens on a copy. */
            break;
        default:
            result = copy_node(context, &file, level->to, name);
        }
    sys_close((int)source);
    return result;
}

/* Copy entries of the deepest level until there is one to descend into (1), none left (0), or an error. */
static long copy_entries(struct context *context, u32 depth) {
    struct level *level = &levels[depth];
    union {
        struct entry first; /* for its alignment */
        u8 space[ENTRIES_SIZE];
    } entries;
    for (;;) {
        long size = sys_getdents64(level->from, &entries, sizeof entries);
        if (size <= 0)
            return size < 0 ? fail(context, size, "getdents64", "") : 0;
        const struct entry *entry;
        for (long at = 0; at < size; at += entry->size) {
            entry = (const struct entry *)(const void *)(entries.space + at);
            if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
                continue;
            long result =
                copy_entry(context, level, depth + 1 < DEPTH_LIMIT ? &levels[depth + 1] : NULL, entry->name);
            if (result < 0)
                return result;
            if (result == 0)
                continue;
            i64 next = entry->next;
            result = sys(__NR_lseek, level->from, next, 0);
            return result < 0 ? fail(context, result, "lseek", "") : 1;
        }
    }
}

long copy_content(struct context *context, int from, int to) {
    long result = open_level(&levels[0], from, to);
    if (result < 0)
        return fail(context, result, "open", "");
    u32 depth = 0;
    for (;;) {
        result = copy_entries(context, depth);
        if (result == 1) {
            depth++;
            continue;
        }
        if (result == 0 && depth > 0)
            result = sys_utimensat(levels[depth].to, NULL, levels[depth].times, 0);
        close_level(&levels[depth]);
        if (result < 0 || depth == 0)
            break;
        depth--;
    }
    if (result < 0)
        while (depth > 0)
            close_level(&levels[--depth]);
    return result;
}
