/* Fully connected layers whose weights are decoded while they are multiplied. */
static void multiply_coded(struct decoder *decoder, const struct code *codes, const int8_t *from,
                           uint32_t width, unsigned units, int32_t *sums)
{
    const struct code code = *codes;
    struct decoder d = *decoder;
    for (; units > 0; units--) {
        int32_t sum = *sums;
        while (d.index < width) {
            sum += d.value * from[d.index];
            d = next_weight(d, &code);
        }
        d.index -= width;
        *sums++ = sum;
    }
    *decoder = d;
}
