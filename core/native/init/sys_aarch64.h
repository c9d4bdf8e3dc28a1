/* aarch64: the system call instruction and the process's entry. */

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

/* The kernel enters with argc, argv and envp at the stack pointer. */
#define ENTRY(function)            \
    __asm__(".text\n"              \
            ".globl _start\n"      \
            ".type _start, %function\n" \
            "_start:\n"            \
            "  mov x29, #0\n"      \
            "  mov x30, #0\n"      \
            "  mov x0, sp\n"       \
            "  bl " #function "\n" \
            "  brk #0\n")

/* long thread_start(u64 flags, void *stack): clone(2); the thread runs `function` on its own stack, of which this is the
 * end. Returns its id or a negative errno. */
long thread_start(uint64_t flags, void *stack);
#define THREAD_START(function)     \
    __asm__(".text\n"              \
            ".globl thread_start\n" \
            ".type thread_start, %function\n" \
            "thread_start:\n"      \
            "  mov x2, #0\n"       \
            "  mov x3, #0\n"       \
            "  mov x4, #0\n"       \
            "  mov x8, #220\n"     \
            "  svc #0\n"           \
            "  cbnz x0, 1f\n"      \
            "  mov x29, #0\n"      \
            "  mov x30, #0\n"      \
            "  bl " #function "\n" \
            "  brk #0\n"           \
            "1:\n"                 \
            "  ret\n")
