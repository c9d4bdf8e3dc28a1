/* What the files of ocifw-init share: the context of a run, the operations' way to fail, the baton, bounded strings. */

#ifndef OCIFW_INIT_H
#define OCIFW_INIT_H

#include "ops.h"
#include "sys.h"

enum {
    SLOT_LIMIT = 4096,
    PATH_LIMIT = 4096,
    MESSAGE_LIMIT = 8192,
    MESSAGE_FDS = 250,
    DETAIL_LIMIT = 4800,
};

/* Kinds of message, see ../README.md. */
enum {
    PROGRAM = 1,
    GO = 2,
    FDS = 3,
    CLONED = 10,
    PASS = 11,
    ERROR = 12,
    WARNING = 13,
    REPORT = 14,
    OUTPUT = 15,
};

#define NO_STEP 0xffffffffu

/* What an operation returns that failed without an errno: `error` is 0 in the message, `detail` says it all. */
#define NO_ERRNO (-4096)

/* ---- program.c ---- */

struct program {
    u8 *start;
    u64 size;
    u64 steps;
    u64 slots;
    struct step *first;
};

/* What is wrong with a program, and where. */
struct defect {
    u64 step;
    u64 field;
    const char *reason;
};

/* Check the `size` bytes at `start` (8-aligned, writable) completely and turn its offsets into pointers, in place.
 * Returns 0, or -EINVAL with *defect filled in. Touches nothing outside the bytes, however broken they are. */
long program_load(struct program *program, void *start, u64 size, struct defect *defect);

/* ---- context ---- */

struct context {
    struct program program;

    int baton;   /* the socket to the runtime, -1 after AwaitStart */
    int channel; /* the start channel (AwaitStart), else -1: ERROR goes there when the baton is gone */
    u32 step;    /* index of the step being executed */

    int slot[SLOT_LIMIT]; /* descriptor + 1, so that untouched memory means "none": read it through slot_fd() */

    const char *call; /* noted by fail() */
    char detail[DETAIL_LIMIT];

    bool joins;          /* the program joins namespaces of others */
    bool foreign_mounts; /* it joins a mount namespace: /proc is not the host's */
    bool user_namespace; /* a user namespace was made or joined */
    bool maps_awaited;   /* a user namespace was made: the runtime writes its maps before the next GO */

    /* LookupExecutable's result. */
    char executable[PATH_LIMIT];

    /* FindHome's result: Execute's environment with HOME, NULL for none. */
    const char **environment;

    /* For the filesystem operations. */
    int rootfs;              /* O_PATH on the container's root, -1 before BindRootfs and OpenRootfs */
    int procfs;              /* one with the files of processes, see procfs.c; -1 before it is needed */
    int full_procfs;         /* one with all files, likewise */
    int mask;                /* the tmpfs that covers masked directories, -1 before there is one */
    bool entered;            /* the root was changed: `/` is the container's */
    const char *rootfs_path; /* as given to BindRootfs or OpenRootfs, for messages */
    const char *working_directory; /* the path of the last Chdir that succeeded */
};

/* Note the call that failed, and on what; both may be "". The text of `detail` is copied and cut when too long.
 * Returns `error` (a negative errno), so that an operation ends in: return fail(context, error, "fsopen", fstype); */
long fail(struct context *context, long error, const char *call, const char *detail);

/* Tell the runtime of a failure that the step survives. */
void warn(struct context *context, long error, const char *call, const char *detail);

/* The file descriptor in a slot; -EBADF when the slot is none or nothing was passed. Stays the context's. */
int slot_fd(const struct context *context, i64 slot);

/* ---- baton.c ---- */

/* Send a message on `fd`; `text` is sent as it is. Returns 0 or -errno (-EPIPE when the other side is gone). */
long send_message(int fd, u32 kind, u32 step, i32 error, u32 value, const char *text, u64 text_size);

/* Send ERROR or WARNING with what fail() noted, to the baton or the start channel, whichever is open. */
void send_failure(struct context *context, u32 kind, long error);

/* Wait for a message of this kind (PROGRAM, GO) and store the slots that come with it and with the FDS before it.
 * Returns the program's file descriptor, 0 for GO. Ends the process at EOF, and on anything unexpected. */
int receive(struct context *context, u32 kind);

/* Send the file descriptor `fd` over the socket `socket`, with `payload` as the message. */
long send_fd(int socket, int fd, const char *payload);

/* ---- paths.c ---- */

/* Resolve an untrusted path inside the directory `root`, which nothing in it leads out of: neither a symbolic link nor
 * `..`, whatever other processes rename meanwhile. flags: of O_NOFOLLOW and O_DIRECTORY. resolve: 0, or
 * RESOLVE_NO_SYMLINKS (then a symbolic link gives -ELOOP). Returns an O_PATH descriptor or a negative errno. */
long open_inside(int root, const char *path, int flags, u64 resolve);

/* The same, and when `path` leads to nothing, make it with `mode`: S_IFDIR for a directory, S_IFREG for an empty file,
 * both with permissions. Missing directories before it are made with mode 0755. */
long make_inside(int root, const char *path, int flags, u64 resolve, u32 mode);

/* The directory that holds `path`'s last component, made when missing; *name is that component, for system calls that
 * do not follow it. -EINVAL when there is none that can be made: `/`, `.`, `..`. *name is valid until the next call. */
long parent_inside(int root, const char *path, const char **name);

/* mkdirat(2), mknodat(2): with exactly the permissions in `mode`, whatever the umask. */
long make_exactly(int directory, const char *name, u32 mode, u64 device);

/* Whether both are the same file, reached through the same mount as far as the kernel tells (5.8). */
bool same_place(const struct statx *a, const struct statx *b);

/* Whether `file` is a device of this kind and numbers. */
bool is_device(const struct statx *file, u32 kind, u64 major, u64 minor);

/* The descriptor InRoot paths are resolved below; fails when no step has opened a rootfs, so that nothing is ever
 * done to the host's root by mistake. */
long rootfs_of(struct context *context);

/* The same, and `/` where nothing has opened a rootfs: for what exec does too, which enters a container's. */
long container_root(struct context *context);

/* Open a device for reading and writing, by its name in a directory. It is verified before, since to open any other
 * device may have effects, and afterwards, since it may have been exchanged; -ENODEV when it is not `genuine`. */
long open_device(int directory, const char *name, bool (*genuine)(int fd));

/* ---- procfs.c ---- */

/* Open a file below a procfs that no image can have faked. full: with what belongs to no process, as sys/. Verified.
 * Fails in the context. */
long open_proc(struct context *context, bool full, const char *path, int flags);

/* Open the file behind an O_PATH descriptor, and no other. Fails in the context. */
long reopen(struct context *context, int fd, int flags);

/* Before the host's /proc gets out of reach: keep it, where the kernel cannot make a procfs of our own. */
void keep_procfs(struct context *context);

/* Close what was opened: nothing of the container, which may run by means of exec, must get at a procfs without masks. */
void release_procfs(struct context *context);

/* ---- mounts.c ---- */

/* Attributes of mounts, MOUNT_ATTR_*: of the topmost one, then of all, recursively. */
struct attributes {
    u64 set, clear, all_set, all_clear;
    bool topmost_suffices; /* where the kernel knows no recursive attributes (before 5.12); with a warning */
};

/* What a mount is put on: resolved already, and how to get there again. */
struct target {
    int fd;
    int root;
    const char *path;
    u64 resolve;
};

/* Resolve what is to be mounted on, and make it when it is missing (mode as for make_inside). Refuses the root
 * itself. *existed, when asked for, tells whether it was there. Fails in the context; close target->fd afterwards. */
long open_target(struct context *context, struct target *target, const char *path, bool real, u32 mode, bool *existed);

/* Attach the detached mount `tree` with these attributes, and verify that its path leads to it now. `tree` becomes the
 * attached mount's root and stays the caller's. Fails in the context. */
long attach(struct context *context, int tree, const struct attributes *attributes, const struct target *target);

/* Bind the file or directory behind `source`. Fails in the context. */
long bind_fd(struct context *context, int source, bool recursive, const struct attributes *attributes,
             const struct target *target);

/* mount_setattr(2), for a mount of which `fd` is the root. Fails in the context. */
long set_attributes(struct context *context, int fd, const struct attributes *attributes);

/* Set the propagation (MS_SHARED, MS_SLAVE, ..., with or without MS_REC) of a mount of which `fd` is the root. Returns
 * -errno without noting it, -EINVAL when it is no mount's root. */
long set_propagation(struct context *context, int fd, u64 flags);

/* mount(2) on what is behind `target`. source: a text, or, when NULL, what is behind source_fd. Returns -errno without
 * noting it, except when there is no procfs to name descriptors in. */
long mount_by_fd(struct context *context, const char *source, int source_fd, int target, const char *type, u64 flags,
                 const void *data);

/* After mount(2): the root of what `target` leads to now. Fails in the context unless it is another mount than the one
 * below, and the one expected when `root` is not NULL. */
long reached_mount(struct context *context, const struct target *target, const struct statx *root);

/* ---- filesystem.c ---- */

struct filesystem {
    const char *type, *source, *options;
    u64 superblock; /* MS_* */
    u64 attributes; /* MOUNT_ATTR_* */
};

/* Make a filesystem that is not attached yet. Returns its root, O_PATH; -ENOSYS when it must be mounted by mount(2),
 * for which mount_filesystem() is; or fails in the context. */
long new_filesystem(struct context *context, const struct filesystem *filesystem);

/* Mount it by mount(2) and return its root. Fails in the context. */
long mount_filesystem(struct context *context, const struct filesystem *filesystem, const struct target *target);

/* ---- copy_up.c ---- */

/* Copy what is in the directory `from` into the empty directory `to`. Fails in the context. */
long copy_content(struct context *context, int from, int to);

/* ---- ops_process.c ---- */

/* PR_SET_DUMPABLE 0: no ptrace and no /proc/PID/{exe,fd,ns,mem} for anybody without CAP_SYS_PTRACE over the host. */
void hide(void);

/* ---- ops_program.c ---- */

/* Mark every file descriptor from `first` on close-on-exec. */
void cloexec_from(int first);

/* ---- string.c ---- */

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);

bool starts_with(const char *text, const char *prefix);
/* The first `byte` in `text`, or NULL. */
char *find(const char *text, char byte);
/* The last `byte` in `text`, or NULL. */
char *find_last(const char *text, char byte);

/* A bounded string under construction, always NUL-terminated. What does not fit is cut, and `cut` says so. */
struct string {
    char *text;
    size_t capacity; /* with the NUL */
    size_t length;
    bool cut;
};

/* Declare a string called `name` with room for `capacity` bytes on the stack. */
#define STRING(name, capacity_)              \
    char name##_space[capacity_];            \
    struct string name = {name##_space, capacity_, 0, false}; \
    name##_space[0] = 0

void put(struct string *string, const char *text);
void put_bytes(struct string *string, const char *bytes, size_t size);
void put_number(struct string *string, u64 number);

/* Read a decimal number that ends at a byte that is no digit. -1 when there is no digit or it exceeds 2^31-1. */
long parse_number(const char *text);

#endif
