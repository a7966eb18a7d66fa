// X'X where the rows of X lie in memory as they are: inputs of linear layers.
#include "gram.cuh"

#define VECTORS (STEP * TILE / 4 / THREADS)

// A thread's part of 32 rows of 64 columns, on its way from memory to shared memory.
struct Held {
    float4 vectors[VECTORS];
};

// Reads 16 bytes at a time where every row starts at a multiple of 16 bytes.
__device__ __forceinline__ void fetch(Held& held, const float* values, const Reading& reading, const Share& own,
                                      unsigned row, unsigned column, bool vector) {
#pragma unroll
    for (int i = 0; i < VECTORS; ++i) {
        const unsigned at = threadIdx.x + i * THREADS, k = at / (TILE / 4), c = at % (TILE / 4) * 4;
        float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (row + k < own.to) {
            const float* line = values + static_cast<unsigned long long>(position(reading, row + k)) * own.size;
            if (vector && column + c < own.size) {
                v = *reinterpret_cast<const float4*>(line + column + c);
            } else if (!vector) {
                v.x = column + c < own.size ? line[column + c] : 0.0f;
                v.y = column + c + 1 < own.size ? line[column + c + 1] : 0.0f;
                v.z = column + c + 2 < own.size ? line[column + c + 2] : 0.0f;
                v.w = column + c + 3 < own.size ? line[column + c + 3] : 0.0f;
            }
        }
        held.vectors[i] = v;
    }
}

__device__ __forceinline__ void put(float* side, const Held& held) {
#pragma unroll
    for (int i = 0; i < VECTORS; ++i) {
        const unsigned at = threadIdx.x + i * THREADS, k = at / (TILE / 4), c = at % (TILE / 4) * 4;
        *reinterpret_cast<float4*>(side + k * PITCH + c) = held.vectors[i];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
gram_linear(const float* values, Reading reading, unsigned size, unsigned first, unsigned parts,
            float* tiles, double* columns) {
    __shared__ __align__(16) float sides[2 * STEP * PITCH];
    const Share own = share(reading, size, first, parts);
    const bool diagonal = own.down == own.across;
    const bool vector = size % 4 == 0 && reinterpret_cast<unsigned long long>(values) % 16 == 0;
    Held down, across;
    Sums sums;
    clear(sums);
    fetch(down, values, reading, own, own.from, own.down, vector);
    if (!diagonal) {
        fetch(across, values, reading, own, own.from, own.across, vector);
    }
    for (unsigned row = own.from; row < own.to; row += STEP) {
        __syncthreads();
        put(sides, down);
        if (!diagonal) {
            put(sides + STEP * PITCH, across);
        }
        __syncthreads();
        // The next rows are on their way while these are added.
        if (row + STEP < own.to) {
            fetch(down, values, reading, own, row + STEP, own.down, vector);
            if (!diagonal) {
                fetch(across, values, reading, own, row + STEP, own.across, vector);
            }
        }
        add_step(sums, sides, diagonal ? 0 : STEP * PITCH, diagonal);
        end_share(sums, own, row);
    }
    store(sums, own, tiles, columns);
}
