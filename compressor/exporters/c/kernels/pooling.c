/* One row of a pooling, from the `count` rows of its windows that lie in the map. */
struct pooling {
    uint16_t width, channels, out_width, columns, stride, before;
    struct limits limits;
};

static int8_t largest_of(const int8_t *const *rows, unsigned count, size_t at, unsigned columns)
{
    int8_t best = INT8_MIN;
    unsigned k, j;
    for (k = 0; k < count; k++)
        for (j = 0; j < columns; j++)
            if (rows[k][at + j] > best)
                best = rows[k][at + j];
    return best;
}

/* Rounded half up; of sums above zero, since what division does with others is less clear. */
static int8_t average_of(const int8_t *const *rows, unsigned count, size_t at, unsigned columns)
{
    const uint32_t values = (uint32_t)count * columns;
    uint32_t sum = 0;
    unsigned k, j;
    for (k = 0; k < count; k++)
        for (j = 0; j < columns; j++)
            sum += (uint32_t)(rows[k][at + j] + 128);
    return (int8_t)((int32_t)((2 * sum + values) / (2 * values)) - 128);
}

static void pool_row(const struct pooling *p, int average, const int8_t *const *rows, unsigned count,
                     int8_t *out)
{
    size_t at = 0;
    unsigned channel, x;
    for (channel = 0; channel < p->channels; channel++, at += p->width)
        for (x = 0; x < p->out_width; x++) {
            const unsigned first = x * p->stride > p->before ? x * p->stride - p->before : 0;
            unsigned end = x * p->stride + p->columns - p->before;
            int8_t found;
            if (end > p->width)
                end = p->width;
            found = average ? average_of(rows, count, at + first, end - first)
                            : largest_of(rows, count, at + first, end - first);
            *out++ = clip(found, &p->limits);
        }
}
