/* A row of int8 becomes a row of a ring: without its zero, at most 7 bits, split into phases.$story
 * Returns 1, or 0 where all of it is zero: such a row is passed over. */
struct import_phases {
    uint16_t width, channels, before, phases, length;
    uint16_t column, channel; /* steps between neighbours in the row that is read */
    int16_t zero, high;
};

static uint16_t import_row_phases(const struct import_phases *m, const int8_t *from, uint16_t *to)
{
    unsigned channel, phase, any = 0;
    for (channel = 0; channel < m->channels; channel++) {
        for (phase = 0; phase < m->phases; phase++) {
            size_t at, x = phase;
            while (x < m->before)
                x += m->phases;
            for (at = x / m->phases; x < (size_t)m->before + m->width; x += m->phases, at++) {
                const int value = from[(x - m->before) * m->column];
                to[at] = (uint16_t)((value < m->high ? value : m->high) - m->zero);
                any |= to[at];
            }
            to += m->length;
        }
        $second
        from += m->channel;
    }
    return (uint16_t)(any != 0);
}
