/* A row of int8 becomes a row of a ring: without its zero, at most 7 bits, split into phases.$story
 * Returns 1, or 0 where all of it is zero: such a row is passed over. */
struct import_phases {
    uint16_t width, channels, before, phases, length, pitch$part;
    uint16_t column, channel; /* steps between neighbours in the row that is read */
};

static uint16_t import_row_phases(const struct import_phases *m, const int8_t *from, uint16_t *to)
{
    uint16_t *row = to;
    unsigned channel, phase, any = 0;
    for (channel = 0; channel < m->channels; channel++) {
        for (phase = 0; phase < m->phases; phase++) {
            uint16_t *const part = row + (size_t)phase * m->length;
            size_t at, x = phase;
            while (x < m->before)
                x += m->phases;
            for (at = x / m->phases; x < (size_t)m->before + m->width; x += m->phases, at++) {
                part[at] = seven_bits(from[(x - m->before) * m->column]);
                any |= part[at];
            }
        }
        row += m->pitch;
        from += m->channel;
    }
    $whole
    return (uint16_t)(any != 0);
}
