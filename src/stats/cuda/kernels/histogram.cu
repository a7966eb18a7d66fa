// Counts elements in 2048 bins between the extremes that moments found, which never leave the device. The bin of an
// element is computed step by step as on the CPU, and integers do not care for the order of their sum.
#include "moments.cuh"

#define BINS 2048
// Elements that are counted or left out together.
#define BLOCK 256
// Tables that the lanes of a warp count into in turn: neighbours often share a bin. The odd pitch puts equal bins of
// different tables into different banks.
#define TABLES 4
#define PITCH (BINS + 1)
// Vectors that a thread loads before it uses the first.
#define LOADS 4

__device__ __forceinline__ void count(unsigned* table, float v, float lo, float inverse) {
    if (v == 0.0f || magnitude_bits(v) >= 0x7f800000u) {
        return;
    }
    const float position = __fsub_rn(__fmul_rn(__fsub_rn(v, lo), inverse), 0.5f);
    const float inside = fminf(fmaxf(position, 0.0f), BINS - 1.0f);
    // 2^23 leaves the nearest integer in the low bits.
    atomicAdd(table + __float_as_uint(__fadd_rn(inside, 8388608.0f)) % BINS, 1u);
}

// Elements that are absent are read as zero, which is not counted.
__device__ __forceinline__ float4 load(const float* values, unsigned long long n, unsigned long long block,
                                       unsigned in_block, bool aligned) {
    const unsigned long long first = block * BLOCK + in_block * 4;
    if (aligned && first + 4 <= n) {
        return *reinterpret_cast<const float4*>(values + first);
    }
    float elements[4];
    for (int e = 0; e < 4; ++e) {
        const unsigned long long at = block * BLOCK + in_block + e * (BLOCK / 4);
        const unsigned long long near = aligned ? first + e : at;
        elements[e] = near < n ? values[near] : 0.0f;
    }
    return make_float4(elements[0], elements[1], elements[2], elements[3]);
}

// Counts every `every`-th block of elements, of which there are `counted`.
extern "C" __global__ void __launch_bounds__(THREADS)
histogram(const float* values, unsigned long long n, unsigned long long every, unsigned long long counted,
          const Moments* range, unsigned* bins) {
    __shared__ unsigned tables[TABLES * PITCH];
    for (unsigned i = threadIdx.x; i < TABLES * PITCH; i += THREADS) {
        tables[i] = 0;
    }
    __syncthreads();
    const float lo = range->least, hi = range->greatest;
    const double width = (static_cast<double>(hi) - static_cast<double>(lo)) / BINS;
    float inverse = width > 0.0 ? static_cast<float>(1.0 / width) : 0.0f;
    inverse = fabsf(inverse) < infinity() ? inverse : 0.0f;
    const bool aligned = reinterpret_cast<unsigned long long>(values) % 16 == 0;
    const unsigned at_once = THREADS / (BLOCK / 4), in_block = threadIdx.x % (BLOCK / 4);
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.x) * at_once;
    unsigned* table = tables + (threadIdx.x % TABLES) * PITCH;
    unsigned long long block = static_cast<unsigned long long>(blockIdx.x) * at_once + threadIdx.x / (BLOCK / 4);
    for (; block < counted; block += stride * LOADS) {
        float4 loaded[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const unsigned long long own = block + i * stride;
            loaded[i] = own < counted ? load(values, n, own * every, in_block, aligned)
                                      : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            count(table, loaded[i].x, lo, inverse);
            count(table, loaded[i].y, lo, inverse);
            count(table, loaded[i].z, lo, inverse);
            count(table, loaded[i].w, lo, inverse);
        }
    }
    __syncthreads();
    for (unsigned bin = threadIdx.x; bin < BINS; bin += THREADS) {
        unsigned sum = 0;
        for (unsigned t = 0; t < TABLES; ++t) {
            sum += tables[t * PITCH + bin];
        }
        if (sum > 0) {
            atomicAdd(bins + bin, sum);
        }
    }
}
