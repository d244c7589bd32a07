#if defined(__ARM_FEATURE_SIMD32) && defined(__ARM_FEATURE_UNALIGNED)
        if (column == 1)
            for (; k < (width & ~(size_t)3); k += 4)
                any |= import_four(from + k, row + k);
#endif
