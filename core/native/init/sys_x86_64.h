/* x86_64: the system call instruction and the process's entry. */

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* The kernel enters with argc, argv and envp at the stack pointer, and no return address. */
#define ENTRY(function)            \
    __asm__(".text\n"              \
            ".globl _start\n"      \
            ".type _start, @function\n" \
            "_start:\n"            \
            "  xor %ebp, %ebp\n"   \
            "  mov %rsp, %rdi\n"   \
            "  and $-16, %rsp\n"   \
            "  call " #function "\n" \
            "  hlt\n")

/* long thread_start(u64 flags, void *stack): clone(2); the thread runs `function` on its own stack, of which this is the
 * end. Returns its id or a negative errno. */
long thread_start(uint64_t flags, void *stack);
#define THREAD_START(function)     \
    __asm__(".text\n"              \
            ".globl thread_start\n" \
            ".type thread_start, @function\n" \
            "thread_start:\n"      \
            "  mov $56, %eax\n"    \
            "  xor %edx, %edx\n"   \
            "  xor %r10d, %r10d\n" \
            "  xor %r8d, %r8d\n"   \
            "  syscall\n"          \
            "  test %rax, %rax\n"  \
            "  jnz 1f\n"           \
            "  xor %ebp, %ebp\n"   \
            "  call " #function "\n" \
            "  hlt\n"              \
            "1:\n"                 \
            "  ret\n")
