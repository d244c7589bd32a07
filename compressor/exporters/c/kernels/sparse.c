/* A fully connected layer of which only weights that are not zero are stored, each behind the number
 * of inputs that are passed over before it. The zero of the input is part of the bias. */
struct sparse {
    const int32_t *bias, *multiplier;
    const uint8_t *shift;
    const uint16_t *counts; /* weights of a unit */
    const uint8_t *gaps;
    const int8_t *values;
    uint32_t units;
    struct limits limits;
};

static void multiply_sparse(const struct sparse *s, const int8_t *from, int8_t *out)
{
    const uint8_t *gap = s->gaps;
    const int8_t *value = s->values;
    uint32_t unit;
    for (unit = 0; unit < s->units; unit++) {
        int32_t sum = s->bias[unit];
        const int8_t *at = from;
        unsigned left;
        for (left = s->counts[unit]; left > 0; left--) {
            at += *gap++;
            sum += *value++ * *at;
        }
        out[unit] = rescale(sum, s->multiplier[unit], s->shift[unit], &s->limits);
    }
}
