/* Fully connected layers of which all weights are stored. */
static void multiply_dense(const int8_t **values, const int8_t *from, size_t width, unsigned units,
                           int32_t *sums)
{
    const int8_t *value = *values;
    for (; units > 0; units--) {
        int32_t sum = *sums;
        size_t k;
        for (k = 0; k < width; k++)
            sum += value[k] * from[k];
        value += width;
        *sums++ = sum;
    }
    *values = value;
}
