window >>= 32 - code->rice - code->width;
    d.at += (uint32_t)code->rice + code->width;
    d.index += window >> code->width;
    d.value = (int32_t)(window & ((1u << code->width) - 1)) - (1 << (code->width - 1));
