/* Weights that are not zero, in code: before each how many are passed over, in Rice code, and then
 * its value, $values. Bits are read from the highest of a byte on; no weight takes more than 25. */
struct code {
    const uint8_t *bits;
    $members
    uint8_t rice;
};

struct decoder {
    uint32_t at; /* the bit behind the weight */
    uint32_t index; /* where the weight lies, from the start of the row */
    int32_t value;
};

#if defined(__GNUC__) && defined(__ARM_FEATURE_CLZ)
#define ONES(window) (unsigned)__builtin_clz(~(window))
#else
static unsigned leading_ones(uint32_t window)
{
    unsigned count = 0;
    for (; window >> 31 != 0; window <<= 1)
        count++;
    return count;
}
#define ONES(window) leading_ones(window)
#endif

$inline struct decoder next_weight(struct decoder d, const struct code *code)
{
    const uint8_t *const byte = code->bits + (d.at >> 3);
    uint32_t window = ((uint32_t)byte[0] << 24 | (uint32_t)byte[1] << 16 | (uint32_t)byte[2] << 8 | byte[3])
                      << (d.at & 7);
    const unsigned ones = ONES(window);
    window = window << ones << 1;
    d.at += ones + 1;
    d.index += ((uint32_t)ones << code->rice) + 1;
    $value
    return d;
}
