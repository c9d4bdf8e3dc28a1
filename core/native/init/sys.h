/* System calls without a C library: each returns the kernel's result, a negative errno on failure.
 *
 * Structures and constants newer than Linux 4.18 are spelled out here, so that the headers of old distributions do.
 * The argument order is the kernel's. What is called only once may use sys() directly.
 */

#ifndef OCIFW_SYS_H
#define OCIFW_SYS_H

#include <asm/errno.h>
#include <asm/fcntl.h>
#include <asm/unistd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

#if defined(__x86_64__)
#include "sys_x86_64.h"
#elif defined(__aarch64__)
#include "sys_aarch64.h"
#else
#error "ocifw-init knows x86_64 and aarch64"
#endif

/* sys(nr, up to six arguments): arguments are converted to long, missing ones are 0. */
#define sys(...) SYS_PICK(__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0)(__VA_ARGS__)
#define SYS_PICK(nr, a, b, c, d, e, f, count, ...) SYS_NAME(count)
#define SYS_NAME(count) SYS_NAME_(count)
#define SYS_NAME_(count) SYS_##count
#define SYS_0(nr) sys6(nr, 0, 0, 0, 0, 0, 0)
#define SYS_1(nr, a) sys6(nr, (long)(a), 0, 0, 0, 0, 0)
#define SYS_2(nr, a, b) sys6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS_3(nr, a, b, c) sys6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS_4(nr, a, b, c, d) sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS_5(nr, a, b, c, d, e) sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS_6(nr, a, b, c, d, e, f) sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* Numbers from 424 on are the same on every architecture. */
enum {
    NR_pidfd_send_signal = 424,
    NR_open_tree = 428,
    NR_move_mount = 429,
    NR_fsopen = 430,
    NR_fsconfig = 431,
    NR_fsmount = 432,
    NR_fspick = 433,
    NR_pidfd_open = 434,
    NR_close_range = 436,
    NR_openat2 = 437,
    NR_mount_setattr = 442,
};

/* ---- constants and structures ---- */

#ifndef AT_FDCWD
#define AT_FDCWD -100
#endif
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200
#define AT_EMPTY_PATH 0x1000
#define AT_RECURSIVE 0x8000

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000

#ifndef O_PATH
#define O_PATH 010000000
#endif

#define RESOLVE_NO_XDEV 0x01
#define RESOLVE_NO_MAGICLINKS 0x02
#define RESOLVE_NO_SYMLINKS 0x04
#define RESOLVE_BENEATH 0x08
#define RESOLVE_IN_ROOT 0x10

struct open_how {
    u64 flags, mode, resolve;
};

#define MS_RDONLY 0x1
#define MS_NOSUID 0x2
#define MS_NODEV 0x4
#define MS_NOEXEC 0x8
#define MS_SYNCHRONOUS 0x10
#define MS_REMOUNT 0x20
#define MS_MANDLOCK 0x40
#define MS_DIRSYNC 0x80
#define MS_NOSYMFOLLOW 0x100
#define MS_NOATIME 0x400
#define MS_NODIRATIME 0x800
#define MS_BIND 0x1000
#define MS_MOVE 0x2000
#define MS_REC 0x4000
#define MS_SILENT 0x8000
#define MS_UNBINDABLE 0x20000
#define MS_PRIVATE 0x40000
#define MS_SLAVE 0x80000
#define MS_SHARED 0x100000
#define MS_RELATIME 0x200000
#define MS_STRICTATIME 0x1000000
#define MS_LAZYTIME 0x2000000
#define MNT_DETACH 2
#define UMOUNT_NOFOLLOW 8

#define OPEN_TREE_CLONE 1
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#define MOVE_MOUNT_F_EMPTY_PATH 0x4
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#define FSOPEN_CLOEXEC 1
#define FSMOUNT_CLOEXEC 1
#define FSPICK_CLOEXEC 1
#define FSPICK_EMPTY_PATH 8
#define FSCONFIG_SET_FLAG 0
#define FSCONFIG_SET_STRING 1
#define FSCONFIG_SET_FD 5
#define FSCONFIG_CMD_CREATE 6
#define FSCONFIG_CMD_RECONFIGURE 7

#define MOUNT_ATTR_RDONLY 0x1
#define MOUNT_ATTR_NOSUID 0x2
#define MOUNT_ATTR_NODEV 0x4
#define MOUNT_ATTR_NOEXEC 0x8
#define MOUNT_ATTR__ATIME 0x70
#define MOUNT_ATTR_NOATIME 0x10
#define MOUNT_ATTR_STRICTATIME 0x20
#define MOUNT_ATTR_NODIRATIME 0x80
#define MOUNT_ATTR_NOSYMFOLLOW 0x200000

struct mount_attr {
    u64 attr_set, attr_clr, propagation, userns_fd;
};

#define STATX_BASIC_STATS 0x7ff
#define STATX_MNT_ID 0x1000

struct statx_time {
    i64 seconds;
    u32 nanoseconds;
    i32 reserved;
};

struct statx {
    u32 stx_mask, stx_blksize;
    u64 stx_attributes;
    u32 stx_nlink, stx_uid, stx_gid;
    u16 stx_mode, spare0;
    u64 stx_ino, stx_size, stx_blocks, stx_attributes_mask;
    struct statx_time stx_atime, stx_btime, stx_ctime, stx_mtime;
    u32 stx_rdev_major, stx_rdev_minor, stx_dev_major, stx_dev_minor;
    u64 stx_mnt_id;
    u64 spare[13];
};

/* 64-bit layout, the same on both architectures. */
struct statfs {
    i64 f_type, f_bsize;
    u64 f_blocks, f_bfree, f_bavail, f_files, f_ffree;
    i32 f_fsid[2];
    i64 f_namelen, f_frsize, f_flags, f_spare[4];
};

/* statfs(2)'s flags of a mount, where they are not those of mount(2). */
#define ST_RELATIME 0x1000
#define ST_NOSYMFOLLOW 0x2000

#define PROC_SUPER_MAGIC 0x9fa0
#define PROC_ROOT_INO 1
#define SYSFS_MAGIC 0x62656572
#define DEVPTS_SUPER_MAGIC 0x1cd1
#define TMPFS_MAGIC 0x01021994

/* The device number as mknod(2) takes it. */
#define DEVICE(major, minor) \
    (((u64)(minor) & 0xff) | (((u64)(major) & 0xfff) << 8) | (((u64)(minor) & ~(u64)0xff) << 12))

struct timespec {
    i64 tv_sec, tv_nsec;
};

#define SIGKILL 9
#define SIGCHLD 17

#define CLONE_NEWTIME 0x80
#define CLONE_PARENT 0x8000
#define CLONE_NEWNS 0x20000
#define CLONE_NEWCGROUP 0x2000000
#define CLONE_NEWUTS 0x4000000
#define CLONE_NEWIPC 0x8000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000

/* ---- sockets ---- */

#define AF_UNIX 1
#define AF_INET 2
#define SOCK_DGRAM 2
#define SOCK_SEQPACKET 5
#define SOCK_CLOEXEC O_CLOEXEC
#define SOL_SOCKET 1
#define SO_PEERCRED 17
#define SCM_RIGHTS 1
#define MSG_CTRUNC 0x8
#define MSG_TRUNC 0x20
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000

struct iovec {
    void *iov_base;
    u64 iov_len;
};

struct msghdr {
    void *msg_name;
    i32 msg_namelen;
    struct iovec *msg_iov;
    u64 msg_iovlen;
    void *msg_control;
    u64 msg_controllen;
    u32 msg_flags;
};

struct cmsghdr {
    u64 cmsg_len;
    i32 cmsg_level, cmsg_type;
};

/* ---- files ---- */

static inline long sys_openat(int dir, const char *path, int flags, u32 mode) {
    return sys(__NR_openat, dir, path, flags, mode);
}
static inline long sys_open(const char *path, int flags) {
    return sys(__NR_openat, AT_FDCWD, path, flags, 0);
}
static inline long sys_openat2(int dir, const char *path, u64 flags, u64 mode, u64 resolve) {
    struct open_how how = {flags, mode, resolve};
    return sys(NR_openat2, dir, path, &how, sizeof how);
}
static inline long sys_close(int fd) {
    return sys(__NR_close, fd);
}
static inline long sys_read(int fd, void *buffer, u64 size) {
    return sys(__NR_read, fd, buffer, size);
}
static inline long sys_write(int fd, const void *buffer, u64 size) {
    return sys(__NR_write, fd, buffer, size);
}
static inline long sys_statx(int dir, const char *path, int flags, struct statx *out) {
    return sys(__NR_statx, dir, path, flags, STATX_BASIC_STATS | STATX_MNT_ID, out);
}
static inline long sys_fstat(int fd, struct statx *out) {
    return sys(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, out);
}
static inline long sys_fstatfs(int fd, struct statfs *out) {
    return sys(__NR_fstatfs, fd, out);
}
static inline long sys_mkdirat(int dir, const char *path, u32 mode) {
    return sys(__NR_mkdirat, dir, path, mode);
}
static inline long sys_mknodat(int dir, const char *path, u32 mode, u64 device) {
    return sys(__NR_mknodat, dir, path, mode, device);
}
static inline long sys_symlinkat(const char *target, int dir, const char *path) {
    return sys(__NR_symlinkat, target, dir, path);
}
static inline long sys_unlinkat(int dir, const char *path, int flags) {
    return sys(__NR_unlinkat, dir, path, flags);
}
static inline long sys_readlinkat(int dir, const char *path, char *buffer, u64 size) {
    return sys(__NR_readlinkat, dir, path, buffer, size);
}
static inline long sys_fchmod(int fd, u32 mode) {
    return sys(__NR_fchmod, fd, mode);
}
static inline long sys_fchmodat(int dir, const char *path, u32 mode) {
    return sys(__NR_fchmodat, dir, path, mode);
}
static inline long sys_fchown(int fd, u32 uid, u32 gid) {
    return sys(__NR_fchown, fd, uid, gid);
}
static inline long sys_fchownat(int dir, const char *path, u32 uid, u32 gid, int flags) {
    return sys(__NR_fchownat, dir, path, uid, gid, flags);
}
static inline long sys_faccessat(int dir, const char *path, int mode) {
    return sys(__NR_faccessat, dir, path, mode);
}
static inline long sys_utimensat(int dir, const char *path, const struct timespec times[2], int flags) {
    return sys(__NR_utimensat, dir, path, times, flags);
}
static inline u32 sys_umask(u32 mask) {
    return (u32)sys(__NR_umask, mask);
}
static inline long sys_getdents64(int fd, void *buffer, u64 size) {
    return sys(__NR_getdents64, fd, buffer, size);
}
static inline long sys_dup3(int fd, int to, int flags) {
    return sys(__NR_dup3, fd, to, flags);
}
static inline long sys_fcntl(int fd, int command, long argument) {
    return sys(__NR_fcntl, fd, command, argument);
}
static inline long sys_ioctl(int fd, u64 request, const void *argument) {
    return sys(__NR_ioctl, fd, request, argument);
}
static inline long sys_chdir(const char *path) {
    return sys(__NR_chdir, path);
}
static inline long sys_fchdir(int fd) {
    return sys(__NR_fchdir, fd);
}
static inline long sys_getcwd(char *buffer, u64 size) {
    return sys(__NR_getcwd, buffer, size);
}
static inline long sys_chroot(const char *path) {
    return sys(__NR_chroot, path);
}
static inline long sys_pivot_root(const char *new_root, const char *put_old) {
    return sys(__NR_pivot_root, new_root, put_old);
}

/* ---- mounts ---- */

static inline long sys_mount(const char *source, const char *target, const char *type, u64 flags, const void *data) {
    return sys(__NR_mount, source, target, type, flags, data);
}
static inline long sys_umount2(const char *target, int flags) {
    return sys(__NR_umount2, target, flags);
}
static inline long sys_open_tree(int dir, const char *path, u32 flags) {
    return sys(NR_open_tree, dir, path, flags);
}
static inline long sys_move_mount(int from, const char *from_path, int to, const char *to_path, u32 flags) {
    return sys(NR_move_mount, from, from_path, to, to_path, flags);
}
static inline long sys_fsopen(const char *type, u32 flags) {
    return sys(NR_fsopen, type, flags);
}
static inline long sys_fsconfig(int fd, u32 command, const char *key, const void *value, int auxiliary) {
    return sys(NR_fsconfig, fd, command, key, value, auxiliary);
}
static inline long sys_fsmount(int fd, u32 flags, u32 attributes) {
    return sys(NR_fsmount, fd, flags, attributes);
}
static inline long sys_mount_setattr(int dir, const char *path, u32 flags, const struct mount_attr *attributes) {
    return sys(NR_mount_setattr, dir, path, flags, attributes, sizeof *attributes);
}

/* ---- processes ---- */

static inline long sys_prctl(int option, u64 a, u64 b, u64 c, u64 d) {
    return sys(__NR_prctl, option, a, b, c, d);
}
static inline long sys_setns(int fd, u64 kinds) {
    return sys(__NR_setns, fd, kinds);
}
static inline long sys_sendmsg(int fd, const struct msghdr *message, int flags) {
    return sys(__NR_sendmsg, fd, message, flags);
}
static inline long sys_recvmsg(int fd, struct msghdr *message, int flags) {
    return sys(__NR_recvmsg, fd, message, flags);
}
static inline long sys_getpid(void) {
    return sys(__NR_getpid);
}
static inline _Noreturn void sys_exit(int status) {
    for (;;)
        sys(__NR_exit_group, status);
}

#endif
