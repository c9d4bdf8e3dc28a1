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
