/* Cascade's inner loops. Twins in numpy: qkd_hal/distillation/cascade.py. */

#include <stdint.h>

/* prefix[i] = parity of bits[0..i); prefix has count + 1 places. */
void cascade_prefix_parities(const uint8_t *bits, int64_t count, uint8_t *prefix)
{
    uint8_t parity = 0;
    for (int64_t i = 0; i < count; i++) {
        prefix[i] = parity;
        parity ^= bits[i];
    }
    prefix[count] = parity;
}
