/* Runs every check vector, compares all integers, and counts ticks by SysTick, which a debugger or
 * QEMU prints. Given on the command line: SELFTEST, INPUTS, OUTPUTS, WORKSPACE, RUN.
 *
 * Under QEMU's -icount an instruction takes the same virtual time as any other, so that the ticks of
 * a loop of known length say how many instructions a tick is.
 */
#define main selftest_main
#include SELFTEST
#undef main

#include "cortex-m.h"

static uint64_t memory[(WORKSPACE + 7) / 8];
static int8_t result[OUTPUTS];

/* Of a power of ten. */
static uint32_t tenth(uint32_t power)
{
    uint32_t found = 1, next = 10;
    for (; next < power; next += next * 8 + next)
        found = next;
    return found;
}

static void say_number(const char *name, uint32_t value)
{
    /* Subtracts, since a processor without division would have its function in the program. */
    uint32_t power = 1000000000, unit;
    char digits[12], *at = digits;
    for (; power > 0; power = unit) {
        char digit = '0';
        for (unit = 0; value >= power; value -= power)
            digit++;
        *at++ = digit;
        unit = power == 1 ? 0 : tenth(power);
    }
    *at = '\0';
    say(name);
    say(digits);
    say("\n");
}

/* Two instructions a turn. */
static uint32_t known_loop(uint32_t turns)
{
    const uint32_t start = SYSTICK_CURRENT;
    __asm__ volatile(".syntax unified\n1: subs %0, %0, #1\n bne 1b\n" : "+l"(turns) : : "cc");
    return (start - SYSTICK_CURRENT) & SYSTICK_MOST;
}

/* The deepest byte of the stack that is not as it was painted. */
extern uint32_t bss_end, stack_top;

int main(void)
{
    uint32_t vector, k, ticks = 0, wrong = 0, *deep;
    register uint32_t *here __asm__("sp");
    for (deep = &bss_end; deep < here - 16; deep++)
        *deep = 0xa5a5a5a5u;
    SYSTICK_RELOAD = SYSTICK_MOST;
    SYSTICK_CURRENT = 0;
    SYSTICK_CONTROL = SYSTICK_RUN;
    say_number("loop ", known_loop(4000000));
    for (vector = 0; vector < VECTORS; vector++) {
        const uint32_t start = SYSTICK_CURRENT;
        if (RUN(inputs + vector * INPUTS, result, memory) != 0)
            wrong++;
        ticks += (start - SYSTICK_CURRENT) & SYSTICK_MOST;
        for (k = 0; k < OUTPUTS; k++)
            if (result[k] != outputs[vector * OUTPUTS + k])
                wrong++;
    }
    say_number("ticks ", ticks);
    say_number("vectors ", VECTORS);
    say_number("wrong ", wrong);
    for (deep = &bss_end; *deep == 0xa5a5a5a5u; deep++) {
    }
    say_number("stack ", (uint32_t)((uintptr_t)&stack_top - (uintptr_t)deep));
    return wrong != 0;
}
