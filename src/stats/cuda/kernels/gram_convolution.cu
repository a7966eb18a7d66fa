// X'X of a convolution's input: rows of X are cut from the image as tiles are read, X itself is never stored.
#include "gram.cuh"

// What one column of X reads: the distance from a position's first element, and the kernel's offsets.
struct Column {
    // Negative for columns past the last.
    int distance;
    short down, across;
};

__device__ __forceinline__ Column column(const Reading& reading, unsigned index, unsigned size) {
    if (index >= size) {
        return {-1, 0, 0};
    }
    const int kernel = reading.kernel_y * reading.kernel_x, i = index;
    const int down = i % kernel / reading.kernel_x * reading.dilation_y;
    const int across = i % reading.kernel_x * reading.dilation_x;
    const int distance = (i / kernel * reading.height + down) * reading.width + across;
    return {distance, static_cast<short>(down), static_cast<short>(across)};
}

// Reads 32 rows of 64 columns: a warp eight neighbouring positions of four columns at a time.
__device__ __forceinline__ void read(float* side, const Column* columns, const float* start, int top, int left,
                                     bool some, const Reading& reading) {
    const int k = threadIdx.x / 32 * 8 + threadIdx.x % 8, first = threadIdx.x % 32 / 8;
#pragma unroll 8
    for (int i = 0; i < TILE / 4; ++i) {
        const Column own = columns[i * 4 + first];
        const unsigned y = top + own.down, x = left + own.across;
        const bool inside = some && own.distance >= 0 && y < static_cast<unsigned>(reading.height)
            && x < static_cast<unsigned>(reading.width);
        side[k * PITCH + i * 4 + first] = inside ? start[own.distance] : 0.0f;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
gram_convolution(const float* values, Reading reading, unsigned size, unsigned from, unsigned to, unsigned each,
                 float* tiles, double* columns) {
    __shared__ __align__(16) float sides[2 * STEP * PITCH];
    __shared__ Column down[TILE], across[TILE];
    const Share own = share(size, from, to, each);
    const bool diagonal = own.down == own.across;
    if (threadIdx.x < TILE) {
        down[threadIdx.x] = column(reading, own.down + threadIdx.x, size);
        across[threadIdx.x] = column(reading, own.across + threadIdx.x, size);
    }
    const long long plane = static_cast<long long>(reading.height) * reading.width;
    Sums sums;
    clear(sums);
    for (unsigned row = own.from; row < own.to; row += STEP) {
        const unsigned mine = row + threadIdx.x / 32 * 8 + threadIdx.x % 8;
        const bool some = mine < own.to;
        const unsigned at = some ? mine : own.from;
        const unsigned where = position(reading, at % reading.taken);
        const int top = static_cast<int>(where / reading.columns_out) * reading.stride_y - reading.pad_y;
        const int side = static_cast<int>(where % reading.columns_out) * reading.stride_x - reading.pad_x;
        const long long image = static_cast<long long>(at / reading.taken) * reading.channels;
        const long long first = (image + static_cast<long long>(own.group) * reading.fan) * plane;
        const float* start = values + first + static_cast<long long>(top) * reading.width + side;
        __syncthreads();
        read(sides, down, start, top, side, some, reading);
        if (!diagonal) {
            read(sides + STEP * PITCH, across, start, top, side, some, reading);
        }
        __syncthreads();
        add_step(sums, sides, diagonal ? 0 : STEP * PITCH, diagonal);
    }
    store(sums, own, tiles, columns);
}
