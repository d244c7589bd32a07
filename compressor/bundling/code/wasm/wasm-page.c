/* What a page calls: write to input(), call run(), read output(). Given on the command line: HEADER,
 * INPUTS, OUTPUTS, WORKSPACE, RUN. Nothing is imported.
 */
#include HEADER

#include <string.h>

#undef memcpy
#undef memset

static float given[INPUTS], made[OUTPUTS];
static uint64_t workspace[(WORKSPACE + 7) / 8];

/* The compiler calls these by name. */
void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *into = to;
    const uint8_t *bytes = from;
    for (; count > 0; count--)
        *into++ = *bytes++;
    return to;
}

void *memset(void *to, int value, size_t count)
{
    uint8_t *into = to;
    for (; count > 0; count--)
        *into++ = (uint8_t)value;
    return to;
}

float *input(void)
{
    return given;
}

float *output(void)
{
    return made;
}

int run(void)
{
    return RUN(given, made, workspace);
}
