/* The same with a byte for each weight: its value in the highest bits, the gap before it below. */
static void multiply_sparse_bytes(struct sparse_at *s, unsigned bits, const int8_t *from,
                                  size_t width, unsigned units, int32_t *sums)
{
    const uint8_t *next = s->next;
    const unsigned shift = 8 - bits, most = (1u << shift) - 1;
    size_t index = s->index;
    for (; units > 0; units--) {
        int32_t sum = *sums;
        while (index < width) {
            sum += ((int8_t)*next++ >> shift) * from[index];
            index += *next & most;
        }
        index -= width;
        *sums++ = sum;
    }
    s->next = next;
    s->index = index;
}
