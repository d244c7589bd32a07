/* One row of a convolution, $lanes columns at once. $story */
struct $name {
    const int32_t *bias, *multiplier;
    const uint8_t *shift;
    $members
    uint16_t filters, width, rows;
    uint16_t share; /* filters that see the same channels */
    uint32_t group; /* from the channels of one share to the next */
    struct limits limits;
};

#define SUM(lane, sum) \
    if (x + lane < c->width) \
        out[x + lane] = rescale(sum, multiplier, shift, &limits)

static void $name(const struct $name *c, const int16_t *const *rows, ${space}int8_t *out)
{
    $start
    /* What is written through `out` could be any of these, as far as the compiler knows. */
    const struct limits limits = c->limits;
    size_t group = 0;
    unsigned filter, shared = 0;
    for (filter = 0; filter < c->filters; filter++) {
        $declare
        const int32_t multiplier = c->multiplier[filter];
        const unsigned shift = c->shift[filter];
        size_t x;
        for (x = 0; x < c->width; x += $lanes) {
            unsigned k;
            EACH(int32_t s# = c->bias[filter];)
            $restart
            for (k = 0; k < c->rows; k++) {
                const int16_t *row = rows[k];
                $row
                if (row == NULL) {
                    $skip
                    continue;
                }
                row += group + x;
                for (; $more; $step) {
                    const int16_t *const at = row + $offset;
                    const int32_t weight = $value;
                    EACH(s# += weight * at[#];)
                }
            }
            EACH(SUM(#, s#);)
        }
        $next
        if (++shared == c->share) {
            shared = 0;
            group += c->group;
        }
        out += c->width;
    }
}
#undef SUM
