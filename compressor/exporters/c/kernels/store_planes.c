AS_LOOP for (k = 0; k < 8; k++)
                    to[x + k] = (uint16_t)levels[k];
