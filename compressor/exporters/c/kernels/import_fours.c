#if defined(__ARM_FEATURE_SIMD32) && defined(__ARM_FEATURE_UNALIGNED)
        if (column == 1)
            for (; k + 4 <= width; k += 4)
                any |= import_four(from + k, row + k);
#endif
