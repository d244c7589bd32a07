/* The sums of 8 places of the output. */
INLINE static void largest_of_1(const uint16_t *from, size_t pitch, int32_t *largest)
{
    unsigned k;
    (void)pitch;
    AS_LOOP for (k = 0; k < 8; k++)
        largest[k] = from[k];
}
