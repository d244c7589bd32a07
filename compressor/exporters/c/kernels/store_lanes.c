for (k = 0; k < columns; k++) {
                int32_t level = ((int32_t)sums[0][k] * multiplier + constant) >> shift;
                level = level > most ? most : level;
                level = level < least ? least : level;
                *out++ = (int8_t)(level + zero);
            }
