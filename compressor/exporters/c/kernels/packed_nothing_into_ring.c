/* The same where all rows of the window are zero. */
static uint16_t ${name}_of_nothing(const struct $name *c, uint16_t *out, size_t skip)
{
    const size_t columns = c->width / $pooled;
    unsigned filter, any = 0;
    for (filter = 0; filter < c->filters; filter++, out += skip) {
        const int8_t level = level16(c->start[filter], c->multiplier[filter], c->constant[filter],
                                     c->shift[filter], $zero, $least, $most);
        const uint16_t *const end = out + columns;
        any |= (unsigned)level;
        while (out != end)
            *out++ = (uint16_t)level;
    }
    return (uint16_t)(any != 0);
}
