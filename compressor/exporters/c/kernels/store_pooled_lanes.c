for (k = 0; k < columns / 2; k++) {
                const uint16_t first = sums[0][2 * k], second = sums[0][2 * k + 1];
                const uint16_t third = sums[1][2 * k], fourth = sums[1][2 * k + 1];
                const uint16_t above = first > second ? first : second;
                const uint16_t below = third > fourth ? third : fourth;
                int32_t level = above > below ? above : below;
                level = (level * multiplier + constant) >> shift;
                level = level > most ? most : level;
                level = level < least ? least : level;
                *out++ = (int8_t)(level + zero);
            }
