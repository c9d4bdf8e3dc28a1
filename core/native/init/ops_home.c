/* FindHome: the home directory that the container's own /etc/passwd names. */

#include "init.h"

enum {
    PROT_READ_WRITE = 3,
    MAP_PRIVATE_ANONYMOUS = 0x22,
    BUFFER_SIZE = 4096,
    UID_FIELD = 2,
    HOME_FIELD = 5,
};

/* Where reading has got to in a line of passwd(5). */
struct line {
    u64 field;
    u64 uid;
    bool digits;  /* the third field is a number so far */
    bool matches; /* its uid is the one that is looked for */
    struct string home;
};

static void begin(struct line *line) {
    line->field = line->uid = 0;
    line->digits = line->matches = false;
    line->home.length = 0;
    line->home.cut = false;
    line->home.text[0] = 0;
}

static void take(struct line *line, char byte, u64 uid) {
    if (byte == ':') {
        if (line->field == UID_FIELD)
            line->matches = line->digits && line->uid == uid;
        line->field++;
        line->digits = true;
        return;
    }
    if (line->field == UID_FIELD) {
        line->digits = line->digits && byte >= '0' && byte <= '9' && line->uid < (u64)1 << 32;
        line->uid = line->uid * 10 + (u64)(byte - '0');
    } else if (line->field == HOME_FIELD)
        put_bytes(&line->home, &byte, 1);
}

/* An absolute path that was not cut, and that no NUL byte ends early. */
static bool usable(const struct line *line) {
    return line->home.text[0] == '/' && !line->home.cut && strlen(line->home.text) == line->home.length;
}

/* Read lines until one has the uid. Returns whether its home directory is usable. */
static bool search(int file, u64 uid, struct line *line) {
    char buffer[BUFFER_SIZE];
    begin(line);
    for (;;) {
        long size = sys_read(file, buffer, sizeof buffer);
        if (size == -EINTR)
            continue;
        if (size <= 0)
            return line->matches && usable(line);
        for (long i = 0; i < size; i++) {
            if (buffer[i] != '\n')
                take(line, buffer[i], uid);
            else if (line->matches)
                return usable(line);
            else
                begin(line);
        }
    }
}

/* A regular file only: to open anything else may wait, or have effects. */
static long open_passwd(struct context *context) {
    long root = container_root(context);
    if (root < 0)
        return root;
    long place = open_inside((int)root, "/etc/passwd", 0, 0);
    if (place < 0)
        return place;
    struct statx file;
    long result = sys_fstat((int)place, &file);
    if (result >= 0)
        result = (file.stx_mode & S_IFMT) == S_IFREG ? reopen(context, (int)place, O_RDONLY) : -EINVAL;
    sys_close((int)place);
    return result;
}

/* Execute's environment with one more entry. Made now: a filter may forbid mmap(2) by then. */
static long extend(struct context *context, const char *entry) {
    const struct step *step = context->program.first;
    for (u64 i = 0; i < context->program.steps; i++) {
        if (step->code == OP_EXECUTE) {
            const struct vector *env = &((const struct op_execute *)step)->env;
            u64 size = (env->count + 2) * sizeof(char *);
            long start = sys(__NR_mmap, 0, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
            if (start < 0 && start > -4096)
                return fail(context, start, "mmap", "");
            context->environment = (const char **)start;
            memcpy(context->environment, env->items, env->count * sizeof(char *));
            context->environment[env->count] = entry;
        }
        step = (const struct step *)(const void *)((const u8 *)step + step->size);
    }
    return 0;
}

long op_find_home(struct context *context, const struct op_find_home *op) {
    static char entry[PATH_LIMIT] = "HOME=/";
    enum { NAME_SIZE = sizeof "HOME=" - 1 };
    struct line line = {.home = {entry + NAME_SIZE, sizeof entry - NAME_SIZE, 0, false}};
    long file = open_passwd(context);
    bool found = file >= 0 && search((int)file, op->uid, &line);
    if (file >= 0)
        sys_close((int)file);
    if (!found)
        memcpy(entry + NAME_SIZE, "/", 2);
    return extend(context, entry);
}
