/* The same where all rows of the window are zero. */
static void ${name}_of_nothing(const struct $name *c, int8_t *out)
{
    const size_t columns = c->width / $pooled;
    unsigned filter;
    for (filter = 0; filter < c->filters; filter++, out += columns)
        memset(out,
               level16(c->start[filter], c->multiplier[filter], c->constant[filter],
                       c->shift[filter], $zero, $least, $most),
               columns);
}
