/* With a byte for the gap and a byte for the value. */
NOT_INLINE static void multiply_sparse(struct sparse_at *s, const int8_t *from, size_t width,
                                       unsigned units, int32_t *sums)
{
    const uint8_t *next = s->next;
    size_t index = s->index;
    for (; units > 0; units--) {
        int32_t sum = *sums;
        while (index < width) {
            sum += (int8_t)next[1] * from[index];
            next += 2;
            index += *next;
        }
        index -= width;
        *sums++ = sum;
    }
    s->next = next;
    s->index = index;
}
