{
        const int8_t *symbol = code->symbols;
        const uint8_t *words = code->words;
        uint32_t first = 0, word;
        unsigned length = 31;
        d.index += window >> 1 >> (31 - code->rice);
        window <<= code->rice;
        while ((word = (window >> length) - first) >= *words) {
            symbol += *words;
            first = (first + *words++) << 1;
            length--;
        }
        d.value = symbol[word];
        d.at += code->rice + 32 - length;
    }
