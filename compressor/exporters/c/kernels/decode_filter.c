/* The weights of the next filter: of each row how many, and then their offsets and values. */
static void $name(struct decoder *decoder, const struct code *code, const $offset *offsets,
                  unsigned taps, unsigned rows, uint8_t *next)
{
    struct decoder d = *decoder;
    for (; rows > 0; rows--) {
        uint8_t *const head = next;
        unsigned found = 0;
        next += $head;
        for (; d.index < taps; found++) {
            $store
            next += $size;
            d = next_weight(d, code);
        }
        d.index -= taps;
        $store_count
    }
    *decoder = d;
}
