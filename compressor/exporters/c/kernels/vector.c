/* Rows of a packed convolution, $columns columns at once in lanes of 16 bits. No sum leaves its
 * lane: it starts at what products with negative weights can take away at most, and spans 16 bits
 * at most, as the exporter proved for every filter. */
$spec
#if defined(__GNUC__)
typedef uint16_t ${name}_lanes __attribute__((vector_size(2 * $wide)));
#else
typedef struct {
    uint16_t lane[$wide];
} ${name}_lanes;
#endif

CLONES static void $name(const struct $name *c, const uint16_t *const *rows, int8_t *out)
{
    $start
    const int zero = $zero, least = $least, most = $most;
    unsigned filter;
    $groups
    for (filter = 0; filter < c->filters; filter++) {
        const int32_t multiplier = c->multiplier[filter], constant = c->constant[filter];
        const unsigned shift = c->shift[filter];
        unsigned x, k, part;
        $declare
        for (x = 0; x < c->width; x += $columns) {
            const unsigned columns = c->width - x < $columns ? c->width - x : $columns;
            uint16_t sums[$pooled][$columns];
            for (part = 0; part < $pooled; part++) {
                EACH(${name}_lanes s#;)
                next = tap;
                for (k = 0; k < $columns; k++)
                    sums[part][k] = c->start[filter];
                EACH(memcpy(&s#, sums[part] + $wide * #, sizeof s#);)
                for (k = 0; k < c->rows; k++) {
                    const uint16_t *row = rows[part * c->rows + k];
                    $row
                    if (row == NULL) {
                        next = end;
                        continue;
                    }
                    row += ${group}x;
                    for (; next != end; next += $size) {
                        const uint16_t factor = (uint16_t)$value;
                        const uint16_t *const from = row + $offset;
                        EACH(${name}_lanes at#;)
                        EACH(memcpy(&at#, from + $wide * #, sizeof at#);)
                        EACH(ADD_PRODUCT(s#, at#, factor);)
                    }
                }
                EACH(memcpy(sums[part] + $wide * #, &s#, sizeof s#);)
            }
            $store
        }
        $next
        $next_group
    }
}
