/* Of 8 neighbours the largest sum of 2 x 2 places each. */
INLINE static void largest_of_4(const uint16_t *from, size_t pitch, int32_t *largest)
{
    uint16_t rows[16];
    uint32_t pairs[8];
    unsigned k;
    AS_LOOP for (k = 0; k < 16; k++)
        rows[k] = from[k] > from[pitch + k] ? from[k] : from[pitch + k];
    memcpy(pairs, rows, sizeof pairs);
    AS_LOOP for (k = 0; k < 8; k++) {
        const int32_t one = (int32_t)(pairs[k] & 0xffff), other = (int32_t)(pairs[k] >> 16);
        largest[k] = one > other ? one : other;
    }
}
