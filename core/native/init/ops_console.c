/* MakeConsole: a pseudo-terminal of the container's own devpts.
 *
 * The container's /dev may be the image's, or a volume that another container changes meanwhile. So ptmx is opened only
 * when it is devpts' own, the peer is the kernel's answer and not a path (CVE-2025-52565), and /dev/console is
 * reached without any link (CVE-2026-88264).
 */

#include "init.h"

enum {
    TIOCSCTTY = 0x540e,
    TIOCSWINSZ = 0x5414,
    TIOCSPTLCK = 0x40045431,
    TIOCGPTPEER = 0x5441,
    PTMX_INO = 2,
};

struct winsize {
    u16 rows, columns, x_pixels, y_pixels;
};

/* Whether it is a devpts' own ptmx. */
static bool is_ptmx(int fd) {
    struct statfs filesystem;
    struct statx file;
    return sys_fstatfs(fd, &filesystem) == 0 && filesystem.f_type == DEVPTS_SUPER_MAGIC &&
           sys_fstat(fd, &file) == 0 && file.stx_ino == PTMX_INO && is_device(&file, S_IFCHR, 5, 2);
}

static long open_master(struct context *context, int root) {
    long directory = open_inside(root, "/dev/pts", O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    if (directory < 0)
        return fail(context, directory, "open", "/dev/pts");
    long master = open_device((int)directory, "ptmx", is_ptmx);
    sys_close((int)directory);
    if (master == -ENODEV)
        return fail(context, NO_ERRNO, "verify", "/dev/pts/ptmx is not that of a devpts");
    return master < 0 ? fail(context, master, "open", "/dev/pts/ptmx") : master;
}

static long open_peer(struct context *context, int master) {
    i32 unlocked = 0;
    long result = sys_ioctl(master, TIOCSPTLCK, &unlocked);
    if (result < 0)
        return fail(context, result, "ioctl TIOCSPTLCK", "");
    result = sys_ioctl(master, TIOCGPTPEER, (const void *)(uintptr_t)(O_RDWR | O_NOCTTY | O_CLOEXEC));
    return result < 0 ? fail(context, result, "ioctl TIOCGPTPEER", "") : result;
}

/* Bind the peer on /dev/console, which is made when it is missing, and is no link. */
static long cover_console(struct context *context, int root, int peer) {
    static const struct attributes none;
    static const char path[] = "/dev/console";
    long directory = open_inside(root, "/dev", O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    if (directory < 0)
        return fail(context, directory, "open", "/dev");
    long fd = make_exactly((int)directory, "console", S_IFREG | 0600, 0);
    /* EROFS: a read-only /dev that has one; without, opening says so. */
    if (fd == 0 || fd == -EEXIST || fd == -EROFS)
        fd = sys_openat((int)directory, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    sys_close((int)directory);
    if (fd < 0)
        return fail(context, fd, "open", path);
    struct target target = {(int)fd, root, path, RESOLVE_NO_SYMLINKS};
    struct statx file;
    long result = sys_fstat((int)fd, &file);
    u32 kind = file.stx_mode & S_IFMT;
    if (result < 0)
        fail(context, result, "statx", path);
    else if (kind != S_IFREG && kind != S_IFCHR)
        result = fail(context, kind == S_IFLNK ? -ELOOP : -EINVAL, "open", "/dev/console is neither device nor file");
    else
        result = bind_fd(context, peer, false, &none, &target);
    sys_close((int)fd);
    return result;
}

/* Make the peer fd 0 to 2 and the controlling terminal. */
static long use(struct context *context, int peer) {
    for (int fd = 0; fd < 3; fd++) {
        long result = sys_dup3(peer, fd, 0);
        if (result < 0)
            return fail(context, result, "dup3", "");
    }
    long result = sys_ioctl(0, TIOCSCTTY, NULL);
    return result < 0 ? fail(context, result, "ioctl TIOCSCTTY", "") : 0;
}

static long connect_console(struct context *context, const struct op_make_console *op, int root, int master, int peer) {
    struct winsize size = {(u16)op->rows, (u16)op->columns, 0, 0};
    long result = op->rows | op->columns ? sys_ioctl(master, TIOCSWINSZ, &size) : 0;
    if (result < 0)
        return fail(context, result, "ioctl TIOCSWINSZ", "");
    int socket = slot_fd(context, op->socket);
    if (socket < 0)
        return fail(context, socket, "", "no socket");
    /* Engines take the message for the terminal's name; it must not be empty. */
    result = send_fd(socket, master, "/dev/ptmx");
    if (result < 0)
        return fail(context, result, "sendmsg", "");
    if (op->mount)
        result = cover_console(context, root, peer);
    return result < 0 ? result : use(context, peer);
}

long op_make_console(struct context *context, const struct op_make_console *op) {
    long root = container_root(context);
    if (root < 0)
        return root;
    long master = open_master(context, (int)root);
    if (master < 0)
        return master;
    long peer = open_peer(context, (int)master);
    long result = peer < 0 ? peer : connect_console(context, op, (int)root, (int)master, (int)peer);
    if (peer >= 0)
        sys_close((int)peer);
    sys_close((int)master);
    return result;
}
