/* The program's checker: nothing is executed before everything was checked.
 *
 * The bytes come from our own runtime, but the process that reads them has the host's root: so they are treated as
 * if they were hostile. What makes the result safe to use without looking at it again:
 *
 *   1. The steps are walked first, which finds where they end. Everything that an offset may refer to lies behind.
 *   2. The last byte is NUL, and nothing that is written to in place (fields and vectors' items) can be the last
 *      byte: so every string ends inside, wherever it begins.
 *   3. A vector's item is turned into a pointer where it stands. A second vector over the same words would meet
 *      pointers, which are no valid offsets, or a nonzero word where its end should be, and is refused.
 */

#define OPS_FIELDS
#include "init.h"

enum { HEADER_SIZE = 40, WORD = 8 };

static const char magic[8] = "ocifwop1";

/* What none stands for, so that operations never meet a null pointer. */
static char empty[WORD];
static char *no_items[1];

struct check {
    u8 *start;
    u64 size;
    u64 slots;
    u64 data; /* offset of the first byte behind the steps */
};

/* Whether `count` items of `unit` bytes at `offset` lie in the data, aligned to words. */
static bool inside(const struct check *check, u64 offset, u64 count, u64 unit) {
    return offset >= check->data && offset <= check->size && offset % WORD == 0 &&
           count <= (check->size - offset) / unit;
}

static const char *check_text(const struct check *check, u64 *word) {
    if (*word == 0)
        *word = (u64)(uintptr_t)empty;
    else if (*word >= check->data && *word < check->size)
        *word += (u64)(uintptr_t)check->start;
    else
        return "text outside the program";
    return NULL;
}

static const char *check_items(const struct check *check, u64 *words, u64 unit) {
    if (words[1] == 0)
        words[0] = (u64)(uintptr_t)empty;
    else if (inside(check, words[0], words[1], unit))
        words[0] += (u64)(uintptr_t)check->start;
    else
        return "array outside the program";
    return NULL;
}

static const char *check_vector(const struct check *check, u64 *words) {
    u64 count = words[1];
    if (count == 0) {
        words[0] = (u64)(uintptr_t)no_items;
        return NULL;
    }
    /* One more than `count`, which may be 2^64-1, for the word that ends the array. */
    if (!inside(check, words[0], count, WORD) || !inside(check, words[0], count + 1, WORD))
        return "vector outside the program";
    u64 *items = (u64 *)(void *)(check->start + words[0]);
    if (items[count] != 0)
        return "vector without an end";
    for (u64 i = 0; i < count; i++) {
        if (items[i] == 0)
            return "vector with a hole";
        const char *reason = check_text(check, &items[i]);
        if (reason)
            return reason;
    }
    words[0] += (u64)(uintptr_t)check->start;
    return NULL;
}

/* Check one field and turn its offsets into pointers. Returns what is wrong, or NULL. */
static const char *check_field(const struct check *check, char type, u64 *words) {
    switch (type) {
    case 'n':
        return NULL;
    case 'f':
        return words[0] <= 1 ? NULL : "flag that is neither 0 nor 1";
    case 's':
        return words[0] == UINT64_MAX || words[0] < check->slots ? NULL : "unknown slot";
    case 't':
        return check_text(check, words);
    case 'b':
        return check_items(check, words, 1);
    case 'v':
        return check_vector(check, words);
    default:
        return check_items(check, words, WORD);
    }
}

static bool two_words(char type) {
    return type == 'b' || type == 'v' || type == 'N';
}

static u64 step_size(const char *fields) {
    u64 size = sizeof(struct step);
    for (; *fields; fields++)
        size += two_words(*fields) ? 2 * WORD : WORD;
    return size;
}

static const char *check_header(struct program *program, const u64 *header, u64 size) {
    if (size < HEADER_SIZE || size % WORD != 0)
        return "size";
    if (memcmp(header, magic, sizeof magic) != 0)
        return "magic";
    if (header[1] != size)
        return "total size";
    program->steps = header[2];
    program->slots = header[3];
    if (program->slots > SLOT_LIMIT)
        return "too many slots";
    if (header[4] < HEADER_SIZE || header[4] > size || header[4] % WORD != 0)
        return "offset of the first step";
    return NULL;
}

long program_load(struct program *program, void *start, u64 size, struct defect *defect) {
    *defect = (struct defect){UINT64_MAX, UINT64_MAX, NULL};
    const char *reason = check_header(program, start, size);
    if (reason) {
        defect->reason = reason;
        return -EINVAL;
    }
    u64 offset = ((const u64 *)start)[4];
    program->start = start;
    program->size = size;
    program->first = (struct step *)(void *)(program->start + offset);

    for (u64 i = 0; i < program->steps; i++) {
        defect->step = i;
        const struct step *step = (const struct step *)(const void *)(program->start + offset);
        if (size - offset < sizeof *step)
            defect->reason = "step outside the program";
        else if (step->code >= OP_LIMIT || op_names[step->code][0] == 0)
            defect->reason = "unknown code";
        else if (step->size != step_size(op_fields[step->code]) || step->size > size - offset)
            defect->reason = "size of the step";
        if (defect->reason)
            return -EINVAL;
        offset += step->size;
    }

    struct check check = {program->start, size, program->slots, offset};
    defect->step = UINT64_MAX;
    if (offset < size && program->start[size - 1] != 0) {
        defect->reason = "last byte";
        return -EINVAL;
    }
    struct step *step = program->first;
    for (u64 i = 0; i < program->steps; i++) {
        u64 *words = (u64 *)(void *)(step + 1);
        const char *fields = op_fields[step->code];
        for (u64 field = 0; fields[field]; field++) {
            reason = check_field(&check, fields[field], words);
            if (reason) {
                *defect = (struct defect){i, field, reason};
                return -EINVAL;
            }
            words += two_words(fields[field]) ? 2 : 1;
        }
        step = (struct step *)(void *)words;
    }
    return 0;
}
