/* A row of int8 becomes a row of a ring: without its zero, split into phases. */
struct import {
    uint16_t width, channels, before, phases, length, pitch;
    uint16_t column, channel; /* steps between neighbours in the row that is read */
    int16_t zero;
};

static void import_row(const struct import *m, const int8_t *from, int16_t *to)
{
    unsigned channel, phase;
    for (channel = 0; channel < m->channels; channel++) {
        for (phase = 0; phase < m->phases; phase++) {
            /* The first padded column of this phase that is not padding. */
            size_t x = phase;
            while (x < m->before)
                x += m->phases;
            for (; x < (size_t)m->before + m->width; x += m->phases)
                to[(size_t)phase * m->length + x / m->phases] =
                    (int16_t)(from[(x - m->before) * m->column] - m->zero);
        }
        to += m->pitch;
        from += m->channel;
    }
}
