/* Rows of a packed convolution. The two sums of a pair of columns are the halves of 32 bits, and one
 * multiplication and one addition serve both. No sum leaves its half: it starts at what products
 * with negative weights can take away at most, and spans 16 bits at most, as the exporter proved
 * for every filter. */
$spec
/* The sums of $lanes pairs from $columns columns of each row; sums[0] says where they start. Returns
 * where the next filter begins. */
NOT_INLINE static const uint8_t *${name}_sums(const uint8_t *next,
                                              const uint16_t *const *rows, unsigned left,
                                              size_t first, uint32_t *sums)
{
    const uint16_t *const *const last = rows + left;
    EACH(uint32_t s# = *sums;)
    do {
        const uint16_t *row = *rows++;
        $row
        if ($passed_over) {
            next = end;
            continue;
        }
        row += first;
        KEEP(row);
        do {
            const uint16_t *const at = row + $word$offset;
            $weight
            EACH(s# += weight * pair(at + 2 * #);)
        } while (next != end);
    } while (rows != last);
    EACH(sums[#] = s#;)
    return next;
}

static $result $name(const struct $name *c, const uint16_t *const *rows, ${space}$out)
{
    $start
    const unsigned pairs = (c->width + 1u) / 2;
    /* What is written through `out` could be any of these, as far as the compiler knows. */
    const int zero = $zero, least = $least, most = $most;
    unsigned filter;
    $groups
    $any
    for (filter = 0; filter < c->filters; filter++) {
        const int32_t multiplier = c->multiplier[filter], constant = c->constant[filter];
        const unsigned shift = c->shift[filter];
        const uint32_t start = c->start[filter] * UINT32_C(0x10001);
        unsigned x, k;
        $declare
        for (x = 0; x < pairs; x += $lanes) {
            const unsigned columns = pairs - x < $lanes ? pairs - x : $lanes;
            uint32_t sums[$lanes];
            sums[0] = start;
            next = ${name}_sums(tap, rows, c->rows, ${group}2 * x, sums);
            $store
        }
        $next
        $skip
        $next_group
    }
    $returned
}
