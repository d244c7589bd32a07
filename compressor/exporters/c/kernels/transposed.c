/* One row of a transposed convolution: every value is the sum of the weights that reach it. */
struct transposed {
    const int32_t *bias, *multiplier;
    const uint8_t *shift;
    const int8_t *values; /* filters, rows, columns, channels */
    uint16_t filters, rows, columns, channels;
    uint16_t height, width, out_width;
    uint16_t down, right; /* strides */
    uint16_t above, left; /* padding */
    int16_t from_zero;
    struct limits limits;
};

static void transposed_row(const struct transposed *t, const int8_t *from, unsigned y, int8_t *out)
{
    const int8_t *values = t->values;
    unsigned filter, x, k, j, channel;
    for (filter = 0; filter < t->filters; filter++) {
        for (x = 0; x < t->out_width; x++) {
            int32_t sum = t->bias[filter];
            const int8_t *weights = values;
            for (k = 0; k < t->rows; k++) {
                const unsigned v = y + t->above - k;
                for (j = 0; j < t->columns; j++, weights += t->channels) {
                    const unsigned h = x + t->left - j;
                    const int8_t *at;
                    /* Below zero is far above every bound. */
                    if (v % t->down != 0 || v / t->down >= t->height || h % t->right != 0 ||
                        h / t->right >= t->width)
                        continue;
                    at = from + (size_t)(v / t->down) * t->channels * t->width + h / t->right;
                    for (channel = 0; channel < t->channels; channel++, at += t->width)
                        sum += weights[channel] * (*at - t->from_zero);
                }
            }
            *out++ = rescale(sum, t->multiplier[filter], t->shift[filter], &t->limits);
        }
        values += (size_t)t->rows * t->columns * t->channels;
    }
}
