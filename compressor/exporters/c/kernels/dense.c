/* A fully connected layer; the zero of its input is part of the bias. */
struct dense {
    const int32_t *bias, *multiplier;
    const uint8_t *shift;
    const int8_t *values;
    uint32_t units, inputs;
    struct limits limits;
};

static void multiply_dense(const struct dense *d, const int8_t *from, int8_t *out)
{
    const int8_t *value = d->values;
    uint32_t unit, k;
    for (unit = 0; unit < d->units; unit++) {
        int32_t sum = d->bias[unit];
        for (k = 0; k < d->inputs; k++)
            sum += value[k] * from[k];
        value += d->inputs;
        out[unit] = rescale(sum, d->multiplier[unit], d->shift[unit], &d->limits);
    }
}
