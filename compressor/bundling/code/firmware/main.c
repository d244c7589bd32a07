/* The application: replace the two comments. NAME.h says what an integer stands for; NAME_run_float
 * takes real numbers, and a larger workspace. Given on the command line: HEADER, INPUTS, OUTPUTS,
 * WORKSPACE, RUN.
 */
#include HEADER

static uint64_t workspace[(WORKSPACE + 7) / 8];
static int8_t input[INPUTS], output[OUTPUTS];

int main(void)
{
    for (;;) {
        /* Here: fill input. */
        if (RUN(input, output, workspace) != 0)
            return 1;
        /* Here: act on output. */
        __asm__ volatile("" : : "r"(input), "r"(output) : "memory");
    }
}
