/* A row of int8 becomes a row of a ring: without its zero, at most 7 bits, split into phases, and each
 * once more in a second copy, one column to the left.
 * Returns 1, or 0 where all of it is zero: such a row is passed over. */
struct import_packed {
    uint16_t width, channels, before, phases, length;
    uint16_t column, channel; /* steps between neighbours in the row that is read */
    int16_t zero, high;
};

static uint16_t import_row_packed(const struct import_packed *m, const int8_t *from, uint16_t *to)
{
    unsigned channel, phase, any = 0;
    for (channel = 0; channel < m->channels; channel++) {
        for (phase = 0; phase < m->phases; phase++) {
            size_t at, x = phase;
            const int8_t *value;
            while (x < m->before)
                x += m->phases;
            value = from + (x - m->before) * m->column;
            for (at = x / m->phases; x < (size_t)m->before + m->width; x += m->phases, at++) {
                const int level = *value < m->high ? *value : m->high;
                to[at] = (uint16_t)(level - m->zero);
                any |= to[at];
                if (at > 0)
                    to[(size_t)m->phases * m->length + at - 1] = (uint16_t)(level - m->zero);
                value += m->phases * m->column;
            }
            to += m->length;
        }
        to += (size_t)m->phases * m->length;
        from += m->channel;
    }
    return (uint16_t)(any != 0);
}
