/* Rows of a packed convolution, $columns columns at once in lanes of 16 bits. No sum leaves its
 * lane: it starts at what products with negative weights can take away at most, and spans 16 bits
 * at most, as the exporter proved for every filter. */
$spec
#if defined(__GNUC__)
typedef uint16_t ${name}_lanes __attribute__((vector_size(2 * $columns)));
#else
typedef struct {
    uint16_t lane[$columns];
} ${name}_lanes;
#endif

CLONES static void $name(const struct $name *c, const uint16_t *const *rows, int8_t *out)
{
    const $offset *offset = c->offsets;
    const $count *count = c->counts;
    const int8_t *value = c->values;
    size_t group = 0;
    unsigned filter, shared = 0;
    for (filter = 0; filter < c->filters; filter++) {
        const int32_t multiplier = c->multiplier[filter], constant = c->constant[filter];
        const unsigned shift = c->shift[filter];
        const $offset *after = offset;
        unsigned x, k, part;
        for (x = 0; x < c->width; x += $columns) {
            const unsigned columns = c->width - x < $columns ? c->width - x : $columns;
            uint16_t sums[$pooled][$columns];
            for (part = 0; part < $pooled; part++) {
                ${name}_lanes sum;
                const int8_t *weight = value;
                after = offset;
                for (k = 0; k < $columns; k++)
                    sums[part][k] = c->start[filter];
                memcpy(&sum, sums[part], sizeof sum);
                for (k = 0; k < c->rows; k++) {
                    const uint16_t *row = rows[part * c->rows + k];
                    const $offset *const end = after + count[k];
                    if (row == NULL) {
                        weight += end - after;
                        after = end;
                        continue;
                    }
                    row += group + x;
                    while (after != end) {
                        ${name}_lanes at;
                        const uint16_t factor = (uint16_t)*weight++;
                        memcpy(&at, row + *after++, sizeof at);
                        ADD_PRODUCT(sum, at, factor);
                    }
                }
                memcpy(sums[part], &sum, sizeof sum);
            }
            $store
        }
        value += after - offset;
        offset = after;
        count += c->rows;
        if (++shared == c->share) {
            shared = 0;
            group += c->group;
        }
    }
}
