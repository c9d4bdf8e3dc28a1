/* New filesystems: fsopen(2), fsconfig(2), fsmount(2), and mount(2) where those do not do.
 *
 * Which is so on kernels before 5.2, and for options that a filesystem only understands as one text: values longer than
 * the 255 bytes that fsconfig(2) takes (overlay's lowerdir), or what its old parser accepts and the new one does not.
 */

#include "init.h"

enum {
    VALUE_LIMIT = 256,
    LOG_LIMIT = 512,
    LOG_MESSAGES = 16,
};

static char options_space[PATH_LIMIT];
/* What the kernel said about the last attempt, "" for nothing. */
static char log_space[LOG_LIMIT];

static const struct {
    u64 flag;
    char name[12];
} superblock_flags[] = {
    {MS_RDONLY, "ro"}, {MS_SYNCHRONOUS, "sync"}, {MS_DIRSYNC, "dirsync"}, {MS_MANDLOCK, "mand"},
    {MS_LAZYTIME, "lazytime"},
};
enum { SUPERBLOCK_FLAGS = sizeof superblock_flags / sizeof superblock_flags[0] };

/* Read what the kernel has to say ("e tmpfs: Unknown parameter 'x'"); the last error counts. */
static void read_log(int fs) {
    char message[LOG_LIMIT];
    for (int i = 0; i < LOG_MESSAGES; i++) {
        long size = sys_read(fs, message, sizeof message);
        if (size < 2)
            return;
        if (message[0] != 'e' || message[1] != ' ')
            continue;
        struct string text = {log_space, sizeof log_space, 0, false};
        put_bytes(&text, message + 2, (size_t)size - 2);
        if (text.length > 0 && text.text[text.length - 1] == '\n')
            text.text[text.length - 1] = 0;
    }
}

static long fail_filesystem(struct context *context, long error, const char *call, const struct filesystem *filesystem) {
    return fail(context, error, call, log_space[0] ? log_space : filesystem->type);
}

/* The end of the option at `text`. Commas in quotes (SELinux contexts) and behind a backslash (overlay) are part of it. */
static char *option_end(char *text) {
    bool quoted = false;
    for (; *text; text++) {
        if (*text == '"')
            quoted = !quoted;
        else if (*text == '\\' && text[1])
            text++;
        else if (*text == ',' && !quoted)
            break;
    }
    return text;
}

static long set_option(int fs, char *key) {
    char *value = find(key, '=');
    if (value == NULL)
        return sys_fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0);
    *value++ = 0;
    size_t length = strlen(value);
    if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
        value[length - 1] = 0;
        value++;
    }
    return length >= VALUE_LIMIT ? -EINVAL : sys_fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

static long set_options(int fs, const char *options) {
    memcpy(options_space, options, strlen(options) + 1);
    char *option = options_space;
    while (*option) {
        char *end = option_end(option);
        char *next = *end ? end + 1 : end;
        *end = 0;
        long result = *option ? set_option(fs, option) : 0;
        if (result < 0)
            return result;
        option = next;
    }
    return 0;
}

static long configure(int fs, const struct filesystem *filesystem) {
    long result = 0;
    if (filesystem->source[0])
        result = sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", filesystem->source, 0);
    for (int i = 0; i < SUPERBLOCK_FLAGS && result >= 0; i++)
        if (filesystem->superblock & superblock_flags[i].flag)
            result = sys_fsconfig(fs, FSCONFIG_SET_FLAG, superblock_flags[i].name, NULL, 0);
    if (result >= 0)
        result = set_options(fs, filesystem->options);
    if (result >= 0)
        result = sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
    return result;
}

long new_filesystem(struct context *context, const struct filesystem *filesystem) {
    log_space[0] = 0;
    /* mount(2) takes a page and would cut what is longer. */
    if (strlen(filesystem->options) >= sizeof options_space)
        return fail(context, -EINVAL, "fsconfig", "options longer than 4095 bytes");
    long fs = sys_fsopen(filesystem->type, FSOPEN_CLOEXEC);
    /* EPERM: a filter of an outer container that does not know the call, or no rights, which mount(2) will tell. */
    if (fs == -ENOSYS || fs == -EPERM)
        return -ENOSYS;
    if (fs < 0)
        return fail_filesystem(context, fs, "fsopen", filesystem);
    long result = configure((int)fs, filesystem);
    const char *call = "fsconfig";
    if (result >= 0) {
        call = "fsmount";
        result = sys_fsmount((int)fs, FSMOUNT_CLOEXEC, (u32)filesystem->attributes);
    } else if (result == -EINVAL) {
        read_log((int)fs);
        sys_close((int)fs);
        return -ENOSYS;
    }
    if (result < 0)
        read_log((int)fs);
    sys_close((int)fs);
    return result < 0 ? fail_filesystem(context, result, call, filesystem) : result;
}

long mount_filesystem(struct context *context, const struct filesystem *filesystem, const struct target *target) {
    const char *source = filesystem->source[0] ? filesystem->source : "none";
    long result = mount_by_fd(context, source, -1, target->fd, filesystem->type, filesystem->superblock | MS_SILENT,
                              filesystem->options[0] ? filesystem->options : NULL);
    if (result < 0)
        return fail_filesystem(context, result, "mount", filesystem);
    result = reached_mount(context, target, NULL);
    if (result < 0)
        return result;
    /* Not by mount(2) above: read-only would be the whole filesystem there, for everybody who mounts it. */
    struct attributes attributes = {filesystem->attributes, 0, 0, 0, false};
    long set = filesystem->attributes ? set_attributes(context, (int)result, &attributes) : 0;
    if (set < 0)
        sys_close((int)result);
    return set < 0 ? set : result;
}
