
#if defined(LEVELS)
FOR_AVX512 static void ${name}_avx512(const struct $struct *c, const uint16_t *map, uint16_t *sums,
                                      $type *out)
{
    ${name}_with(c->add[2], c, map, sums, out);
}

FOR_AVX2 static void ${name}_avx2(const struct $struct *c, const uint16_t *map, uint16_t *sums,
                                  $type *out)
{
    ${name}_with(c->add[1], c, map, sums, out);
}
#endif

static void $name(const struct $struct *c, const uint16_t *map, uint16_t *sums, $type *out)
{
#if defined(LEVELS)
    if (HAS_AVX512) {
        ${name}_avx512(c, map, sums, out);
        return;
    }
    if (HAS_AVX2) {
        ${name}_avx2(c, map, sums, out);
        return;
    }
#endif
    ${name}_with(c->add[0], c, map, sums, out);
}
