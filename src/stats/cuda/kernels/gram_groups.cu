// X'X of a convolution whose groups have few columns each, depthwise ones above all: they would fill no more than a
// corner of a 64 x 64 tile.
//
// The lanes of a warp are 32 neighbouring groups, and the chain of a share is one thread's, in the order that
// `stats/gram.rs` describes: it holds the triangle of 9 columns in registers, or a 9 x 9 square of the triangle of 27,
// which six warps share. All groups read the same positions, so a block works out once where the kernel lies at each.
// Eight rows of X at a time wait in shared memory; a warp reads them from eight neighbouring positions of four groups
// at once. The distances there are odd, so that neither writing nor reading meets a bank twice.
//
// The next eight rows are not read ahead, since registers are full of sums: other warps compute while one waits. Of the
// small kernel 16 warps fit a multiprocessor of compute capability 9.0 (125 registers, 10 KB a warp), of the large one
// 12 (167 registers, 28 KB for six); neither spills.
#include "convolution.cuh"

#define LANES 32
// Rows of X in shared memory at a time; a divisor of SHARE.
#define ROWS 8
// Columns of one side of a thread's square.
#define SIDE 9
// Columns that a thread reads at once; a divisor of SIDE.
#define AHEAD 3

// The sums of one share: products of columns, and columns in squares on the diagonal.
struct Chain {
    float products[SIDE][SIDE], columns[SIDE];
};

// Where the kernel lies at each row of a share.
struct Windows {
    int top[SHARE], left[SHARE];
};

// Rows from `to` on see nothing but padding.
__device__ __forceinline__ void place(Windows& windows, const Reading& reading, unsigned from, unsigned to,
                                      unsigned threads) {
    for (unsigned i = threadIdx.x; i < SHARE; i += threads) {
        const unsigned where = position(reading, min(from + i, to - 1));
        const int top = static_cast<int>(where / reading.columns_out) * reading.stride_y - reading.pad_y;
        windows.top[i] = from + i < to ? top : -2147483647 - 1;
        windows.left[i] = static_cast<int>(where % reading.columns_out) * reading.stride_x - reading.pad_x;
    }
}

// Eight rows from `row` of the share on, of `columns` columns, of up to 32 groups whose values lie from `values` on.
template <int WARPS, int ROW, int GROUP>
__device__ __forceinline__ void fetch(float* rows, const float* values, const Reading& reading, const Windows& windows,
                                      unsigned row, const Column* read, unsigned columns, unsigned groups) {
    const unsigned k = threadIdx.x % ROWS, own = threadIdx.x % LANES / ROWS * 8;
    const int top = windows.top[row + k], left = windows.left[row + k];
    // An image has less than 2^31 elements, so that what lies inside is found whatever wraps around on the way.
    const unsigned group = static_cast<unsigned>(reading.fan) * reading.height * reading.width;
    const unsigned start = own * group + static_cast<unsigned>(top) * reading.width + left;
    for (unsigned first = threadIdx.x / LANES * AHEAD; first < columns; first += WARPS * AHEAD) {
        float held[AHEAD][8];
#pragma unroll
        for (int c = 0; c < AHEAD; ++c) {
            const Column column = read[first + c];
            const unsigned y = top + column.down, x = left + column.across;
            const bool inside = column.distance >= 0 && y < static_cast<unsigned>(reading.height)
                && x < static_cast<unsigned>(reading.width);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                held[c][i] = inside && own + i < groups ? values[start + column.distance + i * group] : 0.0f;
            }
        }
#pragma unroll
        for (int c = 0; c < AHEAD; ++c) {
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                rows[(own + i) * GROUP + k * ROW + first + c] = held[c][i];
            }
        }
    }
}

// Adds eight rows of one group.
template <bool DIAGONAL, int ROW>
__device__ __forceinline__ void add_rows(Chain& chain, const float* rows, int down, int across) {
#pragma unroll 4
    for (int k = 0; k < ROWS; ++k) {
        float a[SIDE], b[SIDE];
#pragma unroll
        for (int i = 0; i < SIDE; ++i) {
            a[i] = rows[k * ROW + down + i];
            b[i] = DIAGONAL ? a[i] : rows[k * ROW + across + i];
        }
#pragma unroll
        for (int i = 0; i < SIDE; ++i) {
#pragma unroll
            for (int j = 0; j < SIDE; ++j) {
                if (!DIAGONAL || j <= i) {
                    chain.products[i][j] = fmaf(a[i], b[j], chain.products[i][j]);
                }
            }
            if (DIAGONAL) {
                chain.columns[i] += a[i];
            }
        }
    }
}

// Sums lie by share; in each the pairs of columns row by row of the triangle, then the columns; `groups` of each.
template <bool DIAGONAL>
__device__ __forceinline__ void store(const Chain& chain, float* sums, unsigned groups, unsigned size, unsigned down,
                                      unsigned across) {
#pragma unroll
    for (unsigned i = 0; i < SIDE; ++i) {
        const unsigned line = down + i;
        if (line >= size) {
            return;
        }
#pragma unroll
        for (unsigned j = 0; j < SIDE; ++j) {
            if (!DIAGONAL || j <= i) {
                sums[static_cast<unsigned long long>(line * (line + 1) / 2 + across + j) * groups] =
                    chain.products[i][j];
            }
        }
        if (DIAGONAL) {
            sums[static_cast<unsigned long long>(size * (size + 1) / 2 + line) * groups] = chain.columns[i];
        }
    }
}

// Block (x, y) adds up share x of 32 groups; images from `first` on, each of so many shares.
template <int SQUARES>
__device__ __forceinline__ void add_groups(const float* values, const Reading& reading, unsigned groups, unsigned size,
                                           unsigned first, unsigned shares, float* sums) {
    // Even distances would meet banks twice.
    const int ROW = SQUARES * SIDE | 1, GROUP = ROWS * ROW + 1, WARPS = SQUARES * (SQUARES + 1) / 2;
    __shared__ float rows[LANES * GROUP];
    __shared__ Column read[SQUARES * SIDE];
    __shared__ Windows windows;
    const unsigned threads = WARPS * LANES, lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    unsigned line = 0;
    while (SQUARES > 1 && (line + 1) * (line + 2) / 2 <= warp) {
        ++line;
    }
    const unsigned down = line * SIDE, across = (warp - line * (line + 1) / 2) * SIDE;
    const bool diagonal = SQUARES == 1 || down == across;
    const unsigned before = blockIdx.y * LANES, image = first + blockIdx.x / shares;
    const unsigned from = blockIdx.x % shares * SHARE, to = min(from + SHARE, reading.taken);
    const long long channel = static_cast<long long>(image) * reading.channels + before * reading.fan;
    values += channel * (reading.height * reading.width);
    for (unsigned c = threadIdx.x; c < SQUARES * SIDE; c += threads) {
        read[c] = column(reading, c, size);
    }
    place(windows, reading, from, to, threads);
    Chain chain = {};
    for (unsigned row = 0; from + row < to; row += ROWS) {
        __syncthreads();
        fetch<WARPS, ROW, GROUP>(rows, values, reading, windows, row, read, SQUARES * SIDE, groups - before);
        __syncthreads();
        if (diagonal && down < size) {
            add_rows<true, ROW>(chain, rows + lane * GROUP, down, across);
        } else if (down < size) {
            add_rows<false, ROW>(chain, rows + lane * GROUP, down, across);
        }
    }
    if (before + lane >= groups) {
        return;
    }
    const unsigned kinds = size * (size + 1) / 2 + size;
    float* own = sums + static_cast<unsigned long long>(blockIdx.x) * kinds * groups + before + lane;
    if (diagonal) {
        store<true>(chain, own, groups, size, down, across);
    } else {
        store<false>(chain, own, groups, size, down, across);
    }
}

extern "C" __global__ void __launch_bounds__(LANES, 16)
gram_groups_9(const float* values, Reading reading, unsigned groups, unsigned size, unsigned first, unsigned shares,
              float* sums) {
    add_groups<1>(values, reading, groups, size, first, shares, sums);
}

extern "C" __global__ void __launch_bounds__(6 * LANES, 2)
gram_groups_27(const float* values, Reading reading, unsigned groups, unsigned size, unsigned first, unsigned shares,
               float* sums) {
    add_groups<3>(values, reading, groups, size, first, shares, sums);
}
