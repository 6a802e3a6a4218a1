/* Cascade's inner loops. Their twins in numpy: qkd_hal/distillation/cascade_numpy.py.
 *
 * Bit i of an array of bits is bit i % 64 of word i / 64. Lengths, ranks and tables were
 * checked, or made, by the caller.
 */

#include <stdint.h>
#include <string.h>

static int get(const uint64_t *bits, int64_t at)
{
    return (int)(bits[at >> 6] >> (at & 63) & 1);
}

static void flip(uint64_t *bits, int64_t at)
{
    bits[at >> 6] ^= UINT64_C(1) << (at & 63);
}

/* Parity of bits [start, stop), which is not empty. */
static uint8_t parity(const uint64_t *bits, int64_t start, int64_t stop)
{
    int64_t word = start >> 6, last = (stop - 1) >> 6;
    uint64_t low = ~UINT64_C(0) << (start & 63), high = ~UINT64_C(0) >> (-stop & 63);
    if (word == last)
        return (uint8_t)__builtin_parityll(bits[word] & low & high);
    uint64_t sum = (bits[word] & low) ^ (bits[last] & high);
    while (++word < last)
        sum ^= bits[word];
    return (uint8_t)__builtin_parityll(sum);
}

/* The last edge at or before a rank: there is one at 0. */
static int64_t edge_before(const uint64_t *edges, int64_t rank)
{
    int64_t word = rank >> 6;
    uint64_t seen = edges[word] & ~UINT64_C(0) >> (63 - (rank & 63));
    while (!seen)
        seen = edges[--word];
    return (word << 6) + 63 - __builtin_clzll(seen);
}

/* The first edge after a rank: there is one at the end. */
static int64_t edge_after(const uint64_t *edges, int64_t rank)
{
    int64_t word = ++rank >> 6;
    uint64_t seen = edges[word] & ~UINT64_C(0) << (rank & 63);
    while (!seen)
        seen = edges[++word];
    return (word << 6) + __builtin_ctzll(seen);
}

/* Parities of consecutive blocks; the last one may be shorter. */
void cascade_block_parities(const uint64_t *bits, int64_t length, int64_t size, uint8_t *parities)
{
    for (int64_t start = 0; start < length; start += size)
        *parities++ = parity(bits, start, start + size < length ? start + size : length);
}

/* Cut into blocks, of which those marked are odd. */
void cascade_cut(int64_t length, int64_t size, const uint8_t *marks, uint64_t *edges, uint64_t *odd)
{
    for (int64_t start = 0; start < length; start += size) {
        flip(edges, start);
        odd[start >> 6] ^= (uint64_t)*marks++ << (start & 63);
    }
    flip(edges, length);
}

/* Take out the odd blocks, of which there are `count`: their starts, rising, then their ends. */
void cascade_take_odd(uint64_t *odd, const uint64_t *edges, int64_t count, int32_t *blocks)
{
    int32_t *low = blocks, *high = blocks + count;
    for (int64_t word = 0, found = 0; found < count; word++) {
        while (!odd[word])
            word++;
        for (; odd[word]; odd[word] &= odd[word] - 1) {
            int64_t start = (word << 6) + __builtin_ctzll(odd[word]);
            low[found] = (int32_t)start;
            high[found++] = (int32_t)edge_after(edges, start);
        }
    }
}

/* Cut the blocks of more than one place in the middle: a mark says that the error is in the
 * first half. Without marks, nothing is cut. Return how many such blocks are left, and the
 * parities of their first halves. */
int64_t cascade_halve(int64_t count, int32_t *blocks, const uint8_t *marks, uint64_t *edges,
                      const uint64_t *bits, uint8_t *parities)
{
    int32_t *low = blocks, *high = blocks + count;
    uint8_t *next = parities;
    for (int64_t i = 0; i < count; i++) {
        if (high[i] - low[i] < 2)
            continue;
        if (marks) {
            int32_t middle = low[i] + (high[i] - low[i]) / 2;
            flip(edges, middle);
            *(*marks++ ? high + i : low + i) = middle;
            if (high[i] - low[i] < 2)
                continue;
        }
        *next++ = parity(bits, low[i], low[i] + (high[i] - low[i]) / 2);
    }
    return next - parities;
}

/* A grid and its tables, see cascade_shuffle.py: where each row goes, where it came from, by
 * how much it is turned before; the same of columns. */
struct grid {
    int64_t length, rows, columns;
    const int32_t *row, *row_back, *row_turn, *column, *column_back, *column_turn;
};

static struct grid read_grid(int64_t length, int64_t rows, int64_t columns, const int32_t *of_rows,
                             const int32_t *of_columns)
{
    return (struct grid){
        length, rows, columns,
        of_rows, of_rows + rows, of_rows + 2 * rows,
        of_columns, of_columns + columns, of_columns + 2 * columns,
    };
}

static int64_t forwards(const struct grid *by, int64_t place)
{
    int64_t row = place / by->columns, column = place % by->columns + by->row_turn[row];
    if (column >= by->columns)
        column -= by->columns;
    row = by->row[row] + by->column_turn[column];
    if (row >= by->rows)
        row -= by->rows;
    return row * by->columns + by->column[column];
}

static int64_t backwards(const struct grid *by, int64_t rank)
{
    int64_t column = by->column_back[rank % by->columns];
    int64_t row = rank / by->columns - by->column_turn[column];
    row = by->row_back[row < 0 ? row + by->rows : row];
    column -= by->row_turn[row];
    return row * by->columns + (column < 0 ? column + by->columns : column);
}

/* Ranks become places. Without rows, the order is the natural one. */
void cascade_places(int64_t count, int32_t *ranks, int64_t length, int64_t rows, int64_t columns,
                    const int32_t *of_rows, const int32_t *of_columns)
{
    struct grid by = read_grid(length, rows, columns, of_rows, of_columns);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = ranks[i];
        if (rows) {
            do
                at = backwards(&by, at);
            while (at >= length);
        }
        ranks[i] = (int32_t)at;
    }
}

/* Take note of places that changed: toggle their blocks if `toggles`, flip their bits if `flips`.
 * Return by how many more blocks are odd. */
int64_t cascade_change(int64_t count, const int32_t *places, int64_t length, int64_t rows,
                       int64_t columns, const int32_t *of_rows, const int32_t *of_columns,
                       const uint64_t *edges, int64_t toggles, uint64_t *odd, int64_t flips,
                       uint64_t *bits)
{
    struct grid by = read_grid(length, rows, columns, of_rows, of_columns);
    int64_t more = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t rank = places[i];
        if (rows) {
            do
                rank = forwards(&by, rank);
            while (rank >= length);
        }
        if (flips)
            flip(bits, rank);
        if (!toggles)
            continue;
        int64_t start = edge_before(edges, rank);
        more += get(odd, start) ? -1 : 1;
        flip(odd, start);
    }
    return more;
}

/* Or `count` bits of `from`, starting at bit `start`, into `to` at bit `at`. Bits of `from` are
 * readable up to the word of the last one; bits of `to` there are clear. */
static void or_bits(uint64_t *to, int64_t at, const uint64_t *from, int64_t start, int64_t count)
{
    while (count > 0) {
        int64_t room = 64 - (at & 63), there = 64 - (start & 63);
        int64_t step = room < there ? room : there;
        if (step > count)
            step = count;
        uint64_t some = from[start >> 6] >> (start & 63) & ~UINT64_C(0) >> (64 - step);
        to[at >> 6] |= some << (at & 63);
        at += step;
        start += step;
        count -= step;
    }
}

/* Turn each row of `length` bits and move it to its new place. */
static void turn_rows(uint64_t *to, const uint64_t *from, int64_t rows, int64_t length,
                      const int32_t *row, const int32_t *turn)
{
    int64_t words = (length + 63) >> 6;
    memset(to, 0, (size_t)(rows * words) * sizeof *to);
    for (int64_t i = 0; i < rows; i++) {
        uint64_t *target = to + row[i] * words;
        const uint64_t *source = from + i * words;
        or_bits(target, turn[i], source, 0, length - turn[i]);
        or_bits(target, 0, source, length - turn[i], turn[i]);
    }
}

static void transpose_tile(uint64_t tile[64])
{
    uint64_t mask = UINT64_C(0xffffffff);
    for (int width = 32; width; width >>= 1, mask ^= mask << width) {
        for (int i = 0; i < 64; i = ((i | width) + 1) & ~width) {
            uint64_t swap = (tile[i] >> width ^ tile[i | width]) & mask;
            tile[i] ^= swap << width;
            tile[i | width] ^= swap;
        }
    }
}

/* rows x columns bits to columns x rows; rows of both start at words. */
static void transpose(uint64_t *to, const uint64_t *from, int64_t rows, int64_t columns)
{
    int64_t from_words = (columns + 63) >> 6, to_words = (rows + 63) >> 6;
    uint64_t tile[64];
    for (int64_t i = 0; i < to_words; i++) {
        for (int64_t j = 0; j < from_words; j++) {
            int64_t deep = rows - 64 * i < 64 ? rows - 64 * i : 64;
            int64_t wide = columns - 64 * j < 64 ? columns - 64 * j : 64;
            for (int64_t k = 0; k < 64; k++)
                tile[k] = k < deep ? from[(64 * i + k) * from_words + j] : 0;
            transpose_tile(tile);
            for (int64_t k = 0; k < wide; k++)
                to[(64 * j + k) * to_words + i] = tile[k];
        }
    }
}

/* Shuffled bits, in order of rank; `work` and `shuffled` hold a whole grid: columns times the
 * words of a column, or rows times the words of a row, whichever is more. */
void cascade_shuffle(const uint64_t *bits, int64_t length, int64_t rows, int64_t columns,
                     const int32_t *of_rows, const int32_t *of_columns, uint64_t *work,
                     uint64_t *shuffled)
{
    struct grid by = read_grid(length, rows, columns, of_rows, of_columns);
    turn_rows(work, bits, rows, columns, by.row, by.row_turn);
    transpose(shuffled, work, rows, columns);
    turn_rows(work, shuffled, columns, rows, by.column, by.column_turn);
    transpose(shuffled, work, columns, rows);
    int64_t used = rows * columns >> 6;
    memset(shuffled + used, 0, (size_t)(columns * ((rows + 63) >> 6) - used) * sizeof *shuffled);
    /* Places that landed beyond the key walk on until they are inside. */
    for (int64_t outside = length; outside < rows * columns; outside++) {
        int64_t place = backwards(&by, outside), rank = outside;
        if (place >= length || !get(bits, place))
            continue;
        flip(shuffled, rank);
        while (rank >= length)
            rank = forwards(&by, rank);
        flip(shuffled, rank);
    }
}
