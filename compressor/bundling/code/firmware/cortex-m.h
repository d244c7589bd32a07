/* Registers that every Cortex-M has, by the names of Arm's manuals. */
#ifndef CORTEX_M_H
#define CORTEX_M_H

#include <stdint.h>

/* SysTick counts down from RELOAD, once a cycle of the processor, in 24 bits. */
#define SYSTICK_CONTROL (*(volatile uint32_t *)0xe000e010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xe000e014)
#define SYSTICK_CURRENT (*(volatile uint32_t *)0xe000e018)
#define SYSTICK_MOST 0xffffffu
/* Enabled, without an interrupt, by the processor's clock. */
#define SYSTICK_RUN 5u

/* Where the processor looks for its handlers; not on a Cortex-M0. */
#define VECTOR_TABLE (*(volatile uint32_t *)0xe000ed08)

/* In start.c. */
void say(const char *text);
void leave(int failed);

#endif
