/* ocifw-init: receives a program of steps, checks it, executes it. argv[1] is the number of the baton's descriptor.
 *
 * Ends with 0 when the program ends without Execute, 1 after an error (which it has reported) or when the runtime
 * is dead. It installs no signal handlers; who spawned it left every disposition at the default.
 */

#define OPS_DISPATCH
#include "init.h"

enum { PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 2, PR_SET_NAME = 15 };

static struct context context;

static _Noreturn void refuse(long error, const char *call, const char *detail) {
    context.step = NO_STEP;
    fail(&context, error, call, detail);
    send_failure(&context, ERROR, error);
    sys_exit(1);
}

static void load(int fd) {
    struct statx file;
    long error = sys_fstat(fd, &file);
    if (error < 0)
        refuse(error, "statx", "");
    long start = sys(__NR_mmap, 0, file.stx_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (start < 0 && start > -4096)
        refuse(start, "mmap", "");
    sys_close(fd);

    struct defect defect;
    error = program_load(&context.program, (void *)start, file.stx_size, &defect);
    if (error < 0) {
        STRING(where, 128);
        if (defect.step != UINT64_MAX) {
            put(&where, "step ");
            put_number(&where, defect.step);
            put(&where, ": ");
        }
        if (defect.field != UINT64_MAX) {
            put(&where, "field ");
            put_number(&where, defect.field);
            put(&where, ": ");
        }
        put(&where, defect.reason);
        refuse(error, "program", where.text);
    }
    error = sys(__NR_mprotect, start, file.stx_size, PROT_READ);
    if (error < 0)
        refuse(error, "mprotect", "");
}

/* What must be known before the first step: see hide() and op_clone(). */
static void look_ahead(void) {
    const struct step *step = context.program.first;
    for (u64 i = 0; i < context.program.steps; i++) {
        u64 made = 0, joined = 0;
        switch (step->code) {
        case OP_JOIN_NAMESPACE:
            context.joins = true;
            joined = ((const struct op_join_namespace *)step)->kind;
            break;
        case OP_JOIN_NAMESPACES:
            context.joins = true;
            joined = ((const struct op_join_namespaces *)step)->kinds;
            break;
        case OP_UNSHARE:
            made = ((const struct op_unshare *)step)->kinds;
            break;
        case OP_CLONE:
            made = ((const struct op_clone *)step)->kinds;
            break;
        }
        if (made & CLONE_NEWUSER)
            context.maps_awaited = context.user_namespace = true;
        /* Kind 0 is any kind. */
        if (joined & CLONE_NEWNS || (step->code == OP_JOIN_NAMESPACE && joined == 0))
            context.foreign_mounts = true;
        step = (const struct step *)(const void *)((const u8 *)step + step->size);
    }
}

__attribute__((used)) _Noreturn static void run(long *stack) {
    long argc = stack[0];
    char **argv = (char **)(stack + 1);
    long baton = argc == 2 ? parse_number(argv[1]) : -1;
    if (baton < 0)
        sys_exit(2);
    context.baton = (int)baton;
    context.channel = context.rootfs = context.procfs = context.full_procfs = context.mask = -1;
    context.step = NO_STEP;
    sys_fcntl(context.baton, F_SETFD, FD_CLOEXEC);
    /* Executed from a descriptor, the kernel calls us by its number, or by the memfd's name. The runtime tells by our
     * name whether we have executed the program. */
    sys_prctl(PR_SET_NAME, (u64)(uintptr_t)"ocifw-init", 0, 0, 0);

    load(receive(&context, PROGRAM));
    look_ahead();
    /* Before it enters namespaces whose processes may reach it by ptrace or /proc (CVE-2016-9962). */
    if (context.joins)
        hide();

    const struct step *step = context.program.first;
    for (context.step = 0; context.step < context.program.steps; context.step++) {
        long result = run_op(&context, step);
        if (result < 0) {
            send_failure(&context, ERROR, result);
            sys_exit(1);
        }
        step = (const struct step *)(const void *)((const u8 *)step + step->size);
    }
    sys_exit(0);
}

ENTRY(run);
