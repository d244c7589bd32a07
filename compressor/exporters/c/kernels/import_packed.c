/* A row of int8 becomes a row of a ring: without its zero, and at most 7 bits.$story
 * Returns 1, or 0 where all of it is zero: such a row is passed over. */
struct import_packed {
    uint16_t width, channels, before, phases, length;
    uint16_t column, channel; /* steps between neighbours in the row that is read */
    int16_t zero, high;
};

static uint16_t import_row_packed(const struct import_packed *m, const int8_t *from, uint16_t *to)
{
    const int zero = m->zero, high = m->high;
    const size_t column = m->column, width = m->width;
    unsigned channel, any = 0;
    for (channel = 0; channel < m->channels; channel++) {
        uint16_t *const row = to + m->before;
        size_t k;
        for (k = 0; k < width; k++) {
            const int level = from[k * column] < high ? from[k * column] : high;
            row[k] = (uint16_t)(level - zero);
            any |= row[k];
        }
        to += m->length;
        $second
        from += m->channel;
    }
    return (uint16_t)(any != 0);
}
