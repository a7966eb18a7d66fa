// Tiles of X'X: what both readers of X share.
//
// A block adds up one 64 x 64 tile on or below the diagonal over the rows of one image, or over one share of them. It
// holds 32 rows of the tile's columns in shared memory, and a thread 8 x 4 products in registers. The order of sums is
// the one that `stats/gram.rs` describes: the processor gets the same bits.
#pragma once

#define THREADS 128
#define TILE 64
#define STEP 32
// Rows whose products are one chain of fused steps.
#define SHARE 64
// 68 instead of 64: eight rows of four neighbouring columns then lie in 32 different banks, and float4 stays aligned.
#define PITCH (TILE + 4)

// Which rows of X are taken, and how a layer reads them from its input; `machine.rs` has the same struct.
struct Reading {
    // Of one image: positions taken, the first of them, how many lie side by side, and the distance of two such runs.
    unsigned taken, first, run, pitch;
    // Of the input and of one group.
    int channels, height, width, fan;
    int kernel_y, kernel_x, stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x;
    // Positions in one row of the output.
    int columns_out;
};

// The share of the work that is one block's.
struct Share {
    // Rows of X, all of one image, and columns of X in all.
    unsigned from, to, size;
    // First columns of the tile's two sides.
    unsigned down, across;
    unsigned group;
};

// Images from `first` on lie along blockIdx.y, each in so many parts.
__device__ __forceinline__ Share share(const Reading& reading, unsigned size, unsigned first, unsigned parts) {
    Share own;
    unsigned line = 0;
    while ((line + 1) * (line + 2) / 2 <= blockIdx.x) {
        ++line;
    }
    own.down = line * TILE;
    own.across = (blockIdx.x - line * (line + 1) / 2) * TILE;
    const unsigned image = (first + blockIdx.y / parts) * reading.taken, part = blockIdx.y % parts;
    own.from = image + part * SHARE;
    own.to = part + 1 < parts ? own.from + SHARE : image + reading.taken;
    own.size = size;
    own.group = blockIdx.z;
    return own;
}

// Position in its image of the i-th row that is taken of it.
__device__ __forceinline__ unsigned position(const Reading& reading, unsigned i) {
    return reading.first + i / reading.run * reading.pitch + i % reading.run;
}

struct Sums {
    // Of the rows of one share, and of the shares so far: short sums keep the rounding of f32 small.
    float now[8][4], all[8][4];
    // The same of one column, in blocks on the diagonal.
    float column_now;
    double column;
};

__device__ __forceinline__ void clear(Sums& sums) {
    sums.column_now = 0.0f;
    sums.column = 0.0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            sums.now[i][j] = 0.0f;
            sums.all[i][j] = 0.0f;
        }
    }
}

__device__ __forceinline__ void add_step(Sums& sums, const float* left, int right, bool diagonal) {
    const int down = threadIdx.x / 16 * 4, across = threadIdx.x % 16 * 4;
#pragma unroll 8
    for (int k = 0; k < STEP; ++k) {
        const float4 upper = *reinterpret_cast<const float4*>(left + k * PITCH + down);
        const float4 lower = *reinterpret_cast<const float4*>(left + k * PITCH + TILE / 2 + down);
        const float4 other = *reinterpret_cast<const float4*>(left + right + k * PITCH + across);
        const float a[8] = {upper.x, upper.y, upper.z, upper.w, lower.x, lower.y, lower.z, lower.w};
        const float b[4] = {other.x, other.y, other.z, other.w};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                sums.now[i][j] = fmaf(a[i], b[j], sums.now[i][j]);
            }
        }
    }
    if (diagonal && threadIdx.x < TILE) {
        for (int k = 0; k < STEP; ++k) {
            sums.column_now += left[k * PITCH + threadIdx.x];
        }
    }
}

// Ends a share, once the rows from `row` on have been added, if it ends there.
__device__ __forceinline__ void end_share(Sums& sums, const Share& own, unsigned row) {
    if ((row - own.from) % SHARE + STEP < SHARE && row + STEP < own.to) {
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            sums.all[i][j] += sums.now[i][j];
            sums.now[i][j] = 0.0f;
        }
    }
    sums.column += sums.column_now;
    sums.column_now = 0.0f;
}

// Partial tiles lie by part of the rows, group, tile; partial column sums by part, group, column.
__device__ __forceinline__ void store(const Sums& sums, const Share& own, float* tiles, double* columns) {
    const unsigned long long of = static_cast<unsigned long long>(blockIdx.y) * gridDim.z + own.group;
    float* tile = tiles + (of * gridDim.x + blockIdx.x) * TILE * TILE;
    const int down = threadIdx.x / 16 * 4, across = threadIdx.x % 16 * 4;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int line = i < 4 ? down + i : TILE / 2 + down + i - 4;
        *reinterpret_cast<float4*>(tile + line * TILE + across) =
            make_float4(sums.all[i][0], sums.all[i][1], sums.all[i][2], sums.all[i][3]);
    }
    if (own.down == own.across && threadIdx.x < TILE && own.down + threadIdx.x < own.size) {
        columns[of * own.size + own.down + threadIdx.x] = sums.column;
    }
}
