/* The first 256 bytes of an RP2040's flash, which its boot ROM copies, checks and runs: they set the
 * flash up to be read as memory (standard 03h reads, which every chip knows), then start what lies
 * behind them. The last word is the CRC-32/MPEG-2 of the others. RP2040 datasheet, 2.8.1 and 4.10.
 *
 *     SSIENR = 0; BAUDR = 4; CTRLR0 = 32 bits a frame, EEPROM read
 *     SPI_CTRLR0 = command 03h, 8 bits of instruction, 24 of address; CTRLR1 = 0; SSIENR = 1
 *     return to the boot ROM if it called; else VTOR = 0x10000100, load its stack pointer, jump
 */
#include <stdint.h>

__attribute__((section(".boot2"), used)) static const uint32_t boot2[64] = {
    0x4b0db500u, 0x60992100u, 0x61592104u, 0x6019490bu,
    0x4418480bu, 0x6001490bu, 0x60592100u, 0x60992101u,
    0x2800bc01u, 0x4808d106u, 0x60084908u, 0xf380c803u,
    0x47088808u, 0x00004700u, 0x18000000u, 0x001f0300u,
    0x000000f4u, 0x03000218u, 0x10000100u, 0xe000ed08u,
    [63] = 0x12366b64u,
};
