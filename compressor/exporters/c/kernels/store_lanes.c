for (k = 0; k < columns; k++) {
                int32_t level = ((int32_t)sums[0][k] * multiplier + constant) >> shift;
                level = level > c->most ? c->most : level;
                level = level < c->least ? c->least : level;
                *out++ = (int8_t)(level + c->zero);
            }
