/* The program's checker on its own, for the fuzz test: built for a host with sanitizers, or for qemu without.
 *
 * Reads programs from standard input, each after its size as a 64-bit word, into memory of exactly that size. Of each
 * that is accepted, everything that an operation might read is read. Prints one letter for each: a(ccepted),
 * r(efused).
 */

#define OPS_FIELDS
#include "init.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned long sum;

static void touch(const void *start, u64 size) {
    const volatile u8 *bytes = start;
    for (u64 i = 0; i < size; i++)
        sum += bytes[i];
}

static void touch_text(const char *text) {
    for (const volatile char *at = text; *at; at++)
        sum += (unsigned long)*at;
}

static void read_step(const struct step *step) {
    const u64 *words = (const void *)(step + 1);
    for (const char *field = op_fields[step->code]; *field; field++) {
        switch (*field) {
        case 't':
            touch_text((const char *)(uintptr_t)words[0]);
            break;
        case 'b':
            touch((const void *)(uintptr_t)words[0], words[1]);
            words++;
            break;
        case 'N':
            touch((const void *)(uintptr_t)words[0], words[1] * 8);
            words++;
            break;
        case 'v': {
            char **items = (char **)(uintptr_t)words[0];
            for (u64 i = 0; i < words[1]; i++)
                touch_text(items[i]);
            if (items[words[1]] != NULL)
                abort();
            words++;
            break;
        }
        case 's':
            if (words[0] != UINT64_MAX && words[0] >= SLOT_LIMIT)
                abort();
            break;
        }
        words++;
    }
}

int main(void) {
    u64 size;
    while (fread(&size, sizeof size, 1, stdin) == 1) {
        void *start = malloc(size);
        if (start == NULL || fread(start, 1, size, stdin) != size)
            return 2;
        struct program program;
        struct defect defect;
        if (program_load(&program, start, size, &defect) < 0) {
            if (defect.reason == NULL)
                abort();
            putchar('r');
        } else {
            const struct step *step = program.first;
            for (u64 i = 0; i < program.steps; i++) {
                read_step(step);
                step = (const void *)((const u8 *)step + step->size);
            }
            putchar('a');
        }
        free(start);
    }
    return 0;
}
