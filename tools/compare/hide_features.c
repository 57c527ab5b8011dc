/* Hides features of an x86 processor from one process, so that one machine can stand in for older ones:
 * CPUID is made to fault (Linux, arch_prctl ARCH_SET_CPUID), and the handler clears bits of the answer.
 *
 *   HIDE=amx        no AMX
 *   HIDE=vpopcnt    nor VPOPCNTDQ, BITALG, FP16 and BF16 of AVX-512 (like Cascade Lake)
 *   HIDE=avx512     nor any AVX-512, nor AVX-VNNI (like Haswell to Zen 3)
 *
 *   cc -O2 -shared -fPIC -o hide_features.so hide_features.c
 *   HIDE=avx512 LD_PRELOAD=./hide_features.so program
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_CPUID = 0x1012 };
enum level { NOTHING, AMX, VPOPCNT, AVX512 };

static enum level hidden;

static void clear(unsigned *answer, unsigned bits) { *answer &= ~bits; }
#define BIT(n) (1u << (n))

static void hide(unsigned leaf, unsigned subleaf, unsigned answer[4]) {
    unsigned *eax = &answer[0], *ebx = &answer[1], *ecx = &answer[2], *edx = &answer[3];
    if (leaf == 7 && subleaf == 0) {
        clear(edx, BIT(22) | BIT(24) | BIT(25)); /* AMX-BF16, AMX-TILE, AMX-INT8 */
        if (hidden >= VPOPCNT) {
            clear(ecx, BIT(12) | BIT(14)); /* BITALG, VPOPCNTDQ */
            clear(edx, BIT(23));           /* AVX512-FP16 */
        }
        if (hidden >= AVX512) {
            clear(ebx, BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
            clear(ecx, BIT(1) | BIT(6) | BIT(11)); /* VBMI, VBMI2, VNNI */
            clear(edx, BIT(2) | BIT(3) | BIT(8));
        }
    } else if (leaf == 7 && subleaf == 1) {
        clear(eax, BIT(21)); /* AMX-FP16 */
        if (hidden >= VPOPCNT) clear(eax, BIT(5)); /* AVX512-BF16 */
        if (hidden >= AVX512) {
            clear(eax, BIT(4) | BIT(23));          /* AVX-VNNI, AVX-IFMA */
            clear(edx, BIT(4) | BIT(5) | BIT(10) | BIT(19)); /* AVX-VNNI-INT8 and others, AVX10 */
        }
    } else if (leaf == 0x24 && hidden >= AVX512) {
        memset(answer, 0, 4 * sizeof *answer); /* AVX10 */
    } else if (leaf == 0xd && subleaf == 0) {
        *eax &= hidden >= AVX512 ? 0x7u : 0xe7u; /* states that the system saves */
    }
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    if (code[0] != 0x0f || code[1] != 0xa2) { /* a fault of another kind: let it happen again */
        signal(SIGSEGV, SIG_DFL);
        return;
    }
    unsigned answer[4], leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX];
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __cpuid_count(leaf, subleaf, answer[0], answer[1], answer[2], answer[3]);
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    hide(leaf, subleaf, answer);
    registers[REG_RAX] = answer[0], registers[REG_RBX] = answer[1];
    registers[REG_RCX] = answer[2], registers[REG_RDX] = answer[3];
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
    const char *name = getenv("HIDE");
    if (!name || !*name) return;
    hidden = !strcmp(name, "amx") ? AMX : !strcmp(name, "vpopcnt") ? VPOPCNT : !strcmp(name, "avx512") ? AVX512 : NOTHING;
    if (hidden == NOTHING) {
        fprintf(stderr, "HIDE=%s, expected amx, vpopcnt or avx512\n", name);
        _exit(97);
    }
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
        fprintf(stderr, "this system cannot hide features of the processor\n");
        _exit(97);
    }
}
