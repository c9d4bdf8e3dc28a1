/* The few string functions there are: the compiler asks for the first four by name. */

#include "init.h"

/* Without the barrier the compiler would make each of these loops a call of the function it stands in. */
#define BARRIER() __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    u8 *out = to;
    const u8 *in = from;
    while (size--) {
        *out++ = *in++;
        BARRIER();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    u8 *out = to;
    const u8 *in = from;
    if (out <= in)
        return memcpy(to, from, size);
    while (size--) {
        out[size] = in[size];
        BARRIER();
    }
    return to;
}

void *memset(void *to, int byte, size_t size) {
    u8 *out = to;
    while (size--) {
        *out++ = (u8)byte;
        BARRIER();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const u8 *left = a, *right = b;
    for (; size; size--, left++, right++)
        if (*left != *right)
            return *left - *right;
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length]) {
        length++;
        BARRIER();
    }
    return length;
}

int strcmp(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return (u8)*a - (u8)*b;
}

bool starts_with(const char *text, const char *prefix) {
    while (*prefix)
        if (*text++ != *prefix++)
            return false;
    return true;
}

char *find(const char *text, char byte) {
    for (; *text; text++)
        if (*text == byte)
            return (char *)text;
    return NULL;
}

char *find_last(const char *text, char byte) {
    char *last = NULL;
    for (; *text; text++)
        if (*text == byte)
            last = (char *)text;
    return last;
}

void put_bytes(struct string *string, const char *bytes, size_t size) {
    size_t room = string->capacity - 1 - string->length;
    if (size > room) {
        size = room;
        string->cut = true;
    }
    memcpy(string->text + string->length, bytes, size);
    string->length += size;
    string->text[string->length] = 0;
}

void put(struct string *string, const char *text) {
    put_bytes(string, text, strlen(text));
}

void put_number(struct string *string, u64 number) {
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put_bytes(string, digits + at, sizeof digits - at);
}

long parse_number(const char *text) {
    long number = 0;
    if (*text < '0' || *text > '9')
        return -1;
    for (; *text >= '0' && *text <= '9'; text++) {
        number = number * 10 + (*text - '0');
        if (number > 0x7fffffff)
            return -1;
    }
    return number;
}
