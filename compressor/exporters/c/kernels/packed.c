/* Rows of a packed convolution. The two sums of a pair of columns are the halves of 32 bits, and one
 * multiplication and one addition serve both. No sum leaves its half: it starts at what products
 * with negative weights can take away at most, and spans 16 bits at most, as the exporter proved
 * for every filter. */
$spec
/* Where the weights of a filter begin. */
struct ${name}_weights {
    const $offset *offset;
    const $count *count;
    const int8_t *value;
};

/* The sums of $lanes pairs from $columns columns of each row. Returns where the next filter begins. */
NOT_INLINE static struct ${name}_weights ${name}_sums(struct ${name}_weights weights,
                                                  const uint16_t *const *rows, unsigned count,
                                                  size_t first, uint32_t start, uint32_t *sums)
{
    const $offset *offset = weights.offset;
    const int8_t *value = weights.value;
    EACH(uint32_t s# = start;)
    for (; count > 0; count--) {
        const uint16_t *row = *rows++;
        const $offset *const end = offset + *weights.count++;
        if (row == NULL) {
            value += end - offset;
            offset = end;
            continue;
        }
        row += first;
        KEEP(row);
        while (offset != end) {
            const uint16_t *const at = row + $word*offset++;
            const uint32_t weight = (uint32_t)(int32_t)*value++;
            EACH(s# += weight * pair(at + 2 * #);)
        }
    }
    EACH(sums[#] = s#;)
    weights.offset = offset;
    weights.value = value;
    return weights;
}

static void $name(const struct $name *c, const uint16_t *const *rows, int8_t *out)
{
    struct ${name}_weights weights, next;
    const unsigned pairs = (c->width + 1u) / 2;
    /* What is written through `out` could be any of these, as far as the compiler knows. */
    const int zero = c->zero, least = c->least, most = c->most;
    size_t group = 0;
    unsigned filter, shared = 0;
    weights.offset = c->offsets;
    weights.count = c->counts;
    weights.value = c->values;
    for (filter = 0; filter < c->filters; filter++) {
        const int32_t multiplier = c->multiplier[filter], constant = c->constant[filter];
        const unsigned shift = c->shift[filter];
        const uint32_t start = c->start[filter] * UINT32_C(0x10001);
        unsigned x, k;
        next = weights;
        for (x = 0; x < pairs; x += $lanes) {
            const unsigned count = pairs - x < $lanes ? pairs - x : $lanes;
            uint32_t sums[$lanes];
            next = ${name}_sums(weights, rows, c->rows, group + 2 * x, start, sums);
            $store
        }
        weights = next;
        if (++shared == c->share) {
            shared = 0;
            group += c->group;
        }
    }
}
