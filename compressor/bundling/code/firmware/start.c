/* What a Cortex-M needs before main, and semihosting: the debugger, or QEMU, prints and exits. */
#include "cortex-m.h"

#include <stddef.h>

extern uint32_t stack_top, data_from, data_start, data_end, bss_start, bss_end;
extern const void *const vectors[16];
int main(void);
void reset(void);
void stopped(void);

static int32_t ask(int32_t operation, const void *argument)
{
    register int32_t number __asm__("r0") = operation;
    register const void *given __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(number) : "r"(given) : "memory");
    return number;
}

/* Print, where a debugger or QEMU listens; without one the processor stops here. */
void say(const char *text)
{
    ask(0x04, text);
}

void leave(int failed)
{
    ask(0x18, (const void *)(intptr_t)(failed ? 0x20023 : 0x20026));
    for (;;) {
    }
}

void stopped(void)
{
    say("fault\n");
    leave(1);
}

/* Its loops stay loops: compilers make calls of memcpy of them, which is larger than all else here. */
__attribute__((optimize("Os", "no-tree-loop-distribute-patterns"))) void reset(void)
{
    uint32_t *from = &data_from, *to;
    for (to = &data_start; to < &data_end; to++)
        *to = *from++;
    for (to = &bss_start; to < &bss_end; to++)
        *to = 0;
#if __ARM_ARCH >= 7
    VECTOR_TABLE = (uint32_t)(uintptr_t)vectors; /* a boot loader may have set its own */
#endif
    leave(main());
}

/* Of the library it is as long as a layer's code. */
__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memset(void *to, int value,
                                                                            size_t size)
{
    uint8_t *at = (uint8_t *)to, *const end = at + size;
    if ((((uintptr_t)at | (uintptr_t)end) & 3) == 0)
        for (; at != end; at += 4)
            *(uint32_t *)(void *)at = (uint8_t)value * UINT32_C(0x01010101);
    while (at != end)
        *at++ = (uint8_t)value;
    return to;
}

__attribute__((section(".vectors"), used)) const void *const vectors[16] = {
    &stack_top, (const void *)reset,   (const void *)stopped, (const void *)stopped,
    (const void *)stopped, (const void *)stopped, (const void *)stopped,
};
