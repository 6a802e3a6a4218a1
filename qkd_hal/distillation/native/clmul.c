/* The middle of a product of polynomials over GF(2), by an additive FFT over GF(2^64) with the
 * processor's carry-less multiplication. No table is read and no branch taken that depends on
 * a bit of the key. Twin in numpy, and the sources: qkd_hal/distillation/additive_fft.py.
 *
 * Blocks are cut into 2^log_half pieces of 32 bits and evaluated at twice as many points.
 * Products of two pieces stay below degree 64, so the field's reduction never touches them. */

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define CLMUL __attribute__((target("pclmul,sse4.1")))
#define LINE 8  /* words of a cache line */
#define CHUNK 64 /* words of all spectra that are multiplied together: they fit the L1 cache */
#define REDUCTION 0x1b /* x^64 = x^4 + x^3 + x + 1 */

/* cantor[0] = 1 and cantor[i]^2 + cantor[i] = cantor[i - 1]. */
static const uint64_t cantor[] = {
    0x0000000000000001, 0x19c9369f278adc02, 0xa181e7d66f5ff794, 0x5db84357ce785d08,
    0xb973d466f5c9d0ca, 0x521ac889831a075e, 0x033ce8beddc8a656, 0xb5846c4e07b91010,
    0x4087b8cbb37a32ec, 0x00d0d3888c0ae17c, 0xafd5ac70237f2222, 0xe3f5af99cc3aaaf8,
    0x5a1db3b16a0b58b8, 0x09947c54fe7ee248, 0x0e8eaf0e0068f544, 0xa2a113500b4b4f5a,
};

CLMUL static inline __m128i load(const uint64_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

CLMUL static inline void store(uint64_t *at, __m128i value)
{
    _mm_storeu_si128((__m128i *)at, value);
}

/* Reduce two products of 128 bits to two field elements side by side. */
CLMUL static inline __m128i reduce(__m128i low, __m128i high)
{
    const __m128i polynomial = _mm_set_epi64x(0, REDUCTION);
    __m128i a = _mm_clmulepi64_si128(low, polynomial, 0x01);
    __m128i b = _mm_clmulepi64_si128(high, polynomial, 0x01);
    __m128i folded = _mm_xor_si128(_mm_unpacklo_epi64(low, high), _mm_unpacklo_epi64(a, b));
    /* At most 4 bits were folded beyond x^63; multiplied once more they stay below x^8. */
    a = _mm_clmulepi64_si128(a, polynomial, 0x01);
    b = _mm_clmulepi64_si128(b, polynomial, 0x01);
    return _mm_xor_si128(folded, _mm_unpacklo_epi64(a, b));
}

/* Multiply two elements by the two of `by`. */
CLMUL static inline __m128i times(__m128i two, __m128i by)
{
    return reduce(_mm_clmulepi64_si128(two, by, 0x00), _mm_clmulepi64_si128(two, by, 0x11));
}

/* One butterfly over `half` pairs; `inverse` undoes it. The twiddle 0 needs no product. */
CLMUL static inline void butterfly(uint64_t *f, uint64_t half, uint64_t twiddle, int inverse)
{
    const __m128i by = _mm_set1_epi64x((int64_t)twiddle);
    for (uint64_t i = 0; i < half; i += 2) {
        __m128i a = load(f + i), c = load(f + half + i);
        if (inverse)
            c = _mm_xor_si128(c, a);
        if (twiddle)
            a = _mm_xor_si128(a, times(c, by));
        if (!inverse)
            c = _mm_xor_si128(c, a);
        store(f + i, a);
        store(f + half + i, c);
    }
}

/* The layer of neighbours: four elements are two pairs, each with a twiddle of its own. */
CLMUL static void neighbours(uint64_t *f, uint64_t size, const uint64_t *twiddles, int inverse)
{
    for (uint64_t i = 0; i < size; i += 4) {
        __m128i one = load(f + i), two = load(f + i + 2);
        __m128i a = _mm_unpacklo_epi64(one, two), c = _mm_unpackhi_epi64(one, two);
        if (inverse)
            c = _mm_xor_si128(c, a);
        a = _mm_xor_si128(a, times(c, load(twiddles + i / 2)));
        if (!inverse)
            c = _mm_xor_si128(c, a);
        store(f + i, _mm_unpacklo_epi64(a, c));
        store(f + i + 2, _mm_unpackhi_epi64(a, c));
    }
}

CLMUL static void evaluate(uint64_t *f, unsigned log_size, const uint64_t *twiddles)
{
    for (unsigned layer = log_size - 1; layer > 0; layer--)
        for (uint64_t block = 0; block < 1ull << (log_size - 1 - layer); block++)
            butterfly(f + (block << (layer + 1)), 1ull << layer, twiddles[block], 0);
    neighbours(f, 1ull << log_size, twiddles, 0);
}

CLMUL static void interpolate(uint64_t *f, unsigned log_size, const uint64_t *twiddles)
{
    neighbours(f, 1ull << log_size, twiddles, 1);
    for (unsigned layer = 1; layer < log_size; layer++)
        for (uint64_t block = 0; block < 1ull << (log_size - 1 - layer); block++)
            butterfly(f + (block << (layer + 1)), 1ull << layer, twiddles[block], 1);
}

/* f[0..count) ^= f[from..from + count); the two do not overlap. */
static inline void fold(uint64_t *f, uint64_t from, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        f[i] ^= f[from + i];
}

/* Expand f, of 2^log_size elements of `width` words, in powers of x^(2^log_step) + x, the
 * polynomial that vanishes on the first 2^log_step points; `inverse` undoes it. */
static void expand(uint64_t *f, unsigned log_size, unsigned log_step, uint64_t width, int inverse)
{
    for (unsigned turn = log_step; turn < log_size; turn++) {
        unsigned level = inverse ? turn : log_size - 1 - (turn - log_step);
        uint64_t half = width << level, shift = half >> log_step;
        for (uint64_t *part = f; part < f + (width << log_size); part += 2 * half) {
            if (!inverse)
                fold(part + half, half - shift, shift);
            fold(part + shift, half - shift, half - shift);
            if (inverse)
                fold(part + half, half - shift, shift);
        }
    }
}

/* From powers of x to products of vanishing polynomials, or back. */
static void convert(uint64_t *f, unsigned log_size, uint64_t width, int inverse)
{
    unsigned step = 1;
    if (log_size <= 1)
        return;
    while (2 * step < log_size)
        step *= 2;
    if (!inverse)
        expand(f, log_size, step, width, 0);
    convert(f, log_size - step, width << step, inverse);
    for (uint64_t at = 0; at < 1ull << (log_size - step); at++)
        convert(f + at * (width << step), step, width, inverse);
    if (inverse)
        expand(f, log_size, step, width, 1);
}

CLMUL static void transform(const uint32_t *pieces, uint64_t blocks, unsigned log_half,
                            const uint64_t *twiddles, uint64_t *spectra)
{
    const uint64_t half = 1ull << log_half;
    for (; blocks > 0; blocks--, pieces += half, spectra += 2 * half + LINE) {
        for (uint64_t i = 0; i < half; i++)
            spectra[i] = pieces[i];
        convert(spectra, log_half, 1, 0);
        memset(spectra + half, 0, half * sizeof *spectra);
        evaluate(spectra, log_half + 1, twiddles);
    }
}

/* sum[p] = sum over i of up[i][p] * down[-i][p], for `count` words p. */
CLMUL static void accumulate(uint64_t *sum, const uint64_t *up, const uint64_t *down,
                             uint64_t terms, uint64_t stride, uint64_t count)
{
    for (uint64_t p = 0; p < count; p += LINE) {
        __m128i low[LINE / 2] = {0}, high[LINE / 2] = {0};
        for (uint64_t i = 0; i < terms; i++) {
            for (int at = 0; at < LINE / 2; at++) {
                __m128i a = load(up + i * stride + p + 2 * at);
                __m128i b = load(down - i * stride + p + 2 * at);
                low[at] = _mm_xor_si128(low[at], _mm_clmulepi64_si128(a, b, 0x00));
                high[at] = _mm_xor_si128(high[at], _mm_clmulepi64_si128(a, b, 0x11));
            }
        }
        for (int at = 0; at < LINE / 2; at++)
            store(sum + p + 2 * at, reduce(low[at], high[at]));
    }
}

/* sums[row] = sum over i of keys[i] * seeds[key_blocks - 1 + row - i], for 0 <= row <= rows. */
CLMUL static void convolve(uint64_t *sums, const uint64_t *keys, uint64_t key_blocks,
                           const uint64_t *seeds, uint64_t seed_blocks, uint64_t rows,
                           uint64_t size)
{
    const uint64_t stride = size + LINE, chunk = size < CHUNK ? size : CHUNK;
    for (uint64_t p = 0; p < size; p += chunk) {
        for (uint64_t row = 0; row <= rows; row++) {
            uint64_t last = key_blocks - 1 + row;
            uint64_t first = last < seed_blocks ? 0 : last - seed_blocks + 1;
            accumulate(sums + row * stride + p, keys + first * stride + p,
                       seeds + (last - first) * stride + p, key_blocks - first, stride, chunk);
        }
    }
}

CLMUL static void add_pieces(uint32_t *out, const uint64_t *sums, uint64_t size)
{
    uint64_t carry = 0;
    for (uint64_t i = 0; i < size; i++) {
        carry ^= sums[i];
        out[i] ^= (uint32_t)carry;
        carry >>= 32;
    }
}

int64_t clmul_supported(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

/* Blocks key_blocks - 1 to key_blocks + rows of key * seed, into `product`, which holds as many
 * blocks of zeros: rows + 2. The first and the last of them are not whole: products of blocks
 * before and beyond are left out. log_half: 2 to 15.
 *
 * `scratch` holds 1 << log_half words, and (2 << log_half) + 8 for each block of key and seed
 * and for each of rows + 1 sums. */
CLMUL void clmul_middle(const uint32_t *key, uint64_t key_blocks, const uint32_t *seed,
                        uint64_t seed_blocks, uint64_t rows, uint64_t log_half,
                        uint64_t *scratch, uint32_t *product)
{
    const uint64_t half = 1ull << log_half, size = 2 * half, stride = size + LINE;
    uint64_t *twiddles = scratch, *keys = twiddles + half;
    uint64_t *seeds = keys + key_blocks * stride, *sums = seeds + seed_blocks * stride;
    twiddles[0] = 0;
    for (uint64_t bit = 1, i = 1; i < half; i++) {
        bit <<= i == 2 * bit;
        twiddles[i] = twiddles[i ^ bit] ^ cantor[__builtin_ctzll(bit) + 1];
    }
    transform(key, key_blocks, (unsigned)log_half, twiddles, keys);
    transform(seed, seed_blocks, (unsigned)log_half, twiddles, seeds);
    convolve(sums, keys, key_blocks, seeds, seed_blocks, rows, size);
    for (uint64_t row = 0; row <= rows; row++) {
        uint64_t *sum = sums + row * stride;
        interpolate(sum, (unsigned)log_half + 1, twiddles);
        convert(sum, (unsigned)log_half + 1, 1, 1);
        add_pieces(product + row * half, sum, size);
    }
}

#else

int64_t clmul_supported(void)
{
    return 0;
}

void clmul_middle(const uint32_t *key, uint64_t key_blocks, const uint32_t *seed,
                    uint64_t seed_blocks, uint64_t rows, uint64_t log_half, uint64_t *scratch,
                    uint32_t *product)
{
}

#endif
