// X'X of a convolution's input: rows of X are cut from the image as tiles are read, X itself is never stored.
#include "convolution.cuh"

#define ELEMENTS (TILE / 4)

// A thread's part of 32 rows of 64 columns, on its way from memory to shared memory.
struct Held {
    float elements[ELEMENTS];
};

// Where the kernel lies in the image for the row that a thread reads.
struct Window {
    const float* start;
    int top, left;
    bool some;
};

__device__ __forceinline__ Window window(const float* values, const Reading& reading, const Share& own, unsigned row) {
    const unsigned mine = row + threadIdx.x / 32 * 8 + threadIdx.x % 8;
    const bool some = mine < own.to;
    const unsigned at = some ? mine : own.from;
    const unsigned where = position(reading, at % reading.taken);
    const int top = static_cast<int>(where / reading.columns_out) * reading.stride_y - reading.pad_y;
    const int left = static_cast<int>(where % reading.columns_out) * reading.stride_x - reading.pad_x;
    const long long plane = static_cast<long long>(reading.height) * reading.width;
    const long long image = static_cast<long long>(at / reading.taken) * reading.channels;
    const long long first = (image + static_cast<long long>(own.group) * reading.fan) * plane;
    return {values + first + static_cast<long long>(top) * reading.width + left, top, left, some};
}

// A warp reads eight neighbouring positions of four columns at a time.
__device__ __forceinline__ void fetch(Held& held, const Column* columns, const Window& at, const Reading& reading) {
    const int first = threadIdx.x % 32 / 8;
#pragma unroll
    for (int i = 0; i < ELEMENTS; ++i) {
        const Column own = columns[i * 4 + first];
        const unsigned y = at.top + own.down, x = at.left + own.across;
        const bool inside = at.some && own.distance >= 0 && y < static_cast<unsigned>(reading.height)
            && x < static_cast<unsigned>(reading.width);
        held.elements[i] = inside ? at.start[own.distance] : 0.0f;
    }
}

__device__ __forceinline__ void put(float* side, const Held& held) {
    const int k = threadIdx.x / 32 * 8 + threadIdx.x % 8, first = threadIdx.x % 32 / 8;
#pragma unroll
    for (int i = 0; i < ELEMENTS; ++i) {
        side[k * PITCH + i * 4 + first] = held.elements[i];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
gram_convolution(const float* values, Reading reading, unsigned size, unsigned first, unsigned parts,
                 float* tiles, double* columns) {
    __shared__ __align__(16) float sides[2 * STEP * PITCH];
    __shared__ Column down[TILE], across[TILE];
    const Share own = share(reading, size, first, parts);
    const bool diagonal = own.down == own.across;
    if (threadIdx.x < TILE) {
        down[threadIdx.x] = column(reading, own.down + threadIdx.x, size);
        across[threadIdx.x] = column(reading, own.across + threadIdx.x, size);
    }
    __syncthreads();
    Held lower, other;
    Sums sums;
    clear(sums);
    Window at = window(values, reading, own, own.from);
    fetch(lower, down, at, reading);
    if (!diagonal) {
        fetch(other, across, at, reading);
    }
    for (unsigned row = own.from; row < own.to; row += STEP) {
        __syncthreads();
        put(sides, lower);
        if (!diagonal) {
            put(sides + STEP * PITCH, other);
        }
        __syncthreads();
        // The next rows are on their way while these are added.
        if (row + STEP < own.to) {
            at = window(values, reading, own, row + STEP);
            fetch(lower, down, at, reading);
            if (!diagonal) {
                fetch(other, across, at, reading);
            }
        }
        add_step(sums, sides, diagonal ? 0 : STEP * PITCH, diagonal);
        end_share(sums, own, row);
    }
    store(sums, own, tiles, columns);
}
