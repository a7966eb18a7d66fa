// What follows moments, in one launch: joins what its blocks found, and counts elements in 2048 bins between the extremes,
// which never leave the device. The bin of an element is computed step by step as on the CPU, and integers do not care
// for the order of their sum.
//
// Block 0 joins moments, the next blocks join channels, the others count.
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

// In the order of the blocks.
__device__ __forceinline__ void finish_moments(const Moments* blocks, unsigned long long count, Moments* result) {
    Moments own = nothing();
    for (unsigned long long i = threadIdx.x; i < count; i += THREADS) {
        join(own, blocks[i]);
    }
    join_block(own);
    if (threadIdx.x == 0) {
        *result = own;
    }
}

// One thread a channel; `parts` holds `splits` rows of channels.
__device__ __forceinline__ void finish_channel(const Channel* parts, unsigned long long channel,
                                               unsigned long long channels, unsigned splits, Channel* result) {
    Channel own = no_channel();
    for (unsigned split = 0; split < splits; ++split) {
        join(own, parts[split * channels + channel]);
    }
    result[channel] = own;
}

// The extremes of all blocks, for every thread.
__device__ __forceinline__ void extremes(const Moments* blocks, unsigned long long count, float& least,
                                         float& greatest) {
    __shared__ float ends[2][WARPS];
    least = infinity();
    greatest = -infinity();
    for (unsigned long long i = threadIdx.x; i < count; i += THREADS) {
        least = fminf(least, blocks[i].least);
        greatest = fmaxf(greatest, blocks[i].greatest);
    }
    for (int by = 16; by > 0; by /= 2) {
        least = fminf(least, __shfl_down_sync(0xffffffffu, least, by));
        greatest = fmaxf(greatest, __shfl_down_sync(0xffffffffu, greatest, by));
    }
    if (threadIdx.x % 32 == 0) {
        ends[0][threadIdx.x / 32] = least;
        ends[1][threadIdx.x / 32] = greatest;
    }
    __syncthreads();
    least = ends[0][0];
    greatest = ends[1][0];
    for (int warp = 1; warp < WARPS; ++warp) {
        least = fminf(least, ends[0][warp]);
        greatest = fmaxf(greatest, ends[1][warp]);
    }
}

__device__ __forceinline__ void count(unsigned* table, float v, float lo, float inverse) {
    // Neither zero nor infinite nor NaN.
    if (magnitude_bits(v) - 1u >= 0x7f7fffffu) {
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

// Where a thread's elements are: in every `every`-th block, of which there are `counted`.
struct Place {
    const float* values;
    unsigned long long n, every, counted, stride;
    unsigned in_block;
    bool aligned;
};

__device__ __forceinline__ void fetch(float4 (&loaded)[LOADS], const Place& place, unsigned long long block) {
#pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        const unsigned long long own = block + i * place.stride;
        loaded[i] = own < place.counted
            ? load(place.values, place.n, own * place.every, place.in_block, place.aligned)
            : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
}

// Counts every `every`-th block of elements, of which there are `counted`.
extern "C" __global__ void __launch_bounds__(THREADS, 5)
histogram(const float* values, unsigned long long n, unsigned long long every, unsigned long long counted,
          const Moments* blocks, unsigned long long block_count, Moments* result, unsigned* bins, const Channel* parts,
          unsigned long long channels, unsigned splits, Channel* channel_result) {
    __shared__ unsigned tables[TABLES * PITCH];
    const unsigned channel_blocks = parts == nullptr ? 0 : static_cast<unsigned>((channels + THREADS - 1) / THREADS);
    if (blockIdx.x == 0) {
        finish_moments(blocks, block_count, result);
        return;
    }
    if (blockIdx.x <= channel_blocks) {
        const unsigned long long channel = static_cast<unsigned long long>(blockIdx.x - 1) * THREADS + threadIdx.x;
        if (channel < channels) {
            finish_channel(parts, channel, channels, splits, channel_result);
        }
        return;
    }
    const unsigned at_once = THREADS / (BLOCK / 4);
    const unsigned own_block = blockIdx.x - 1 - channel_blocks, counting = gridDim.x - 1 - channel_blocks;
    Place place = {values, n, every, counted, static_cast<unsigned long long>(counting) * at_once,
                   threadIdx.x % (BLOCK / 4), reinterpret_cast<unsigned long long>(values) % 16 == 0};
    unsigned long long block = static_cast<unsigned long long>(own_block) * at_once + threadIdx.x / (BLOCK / 4);
    // The first elements are on their way while the extremes are found, the next ones while these are counted.
    float4 loaded[LOADS];
    fetch(loaded, place, block);
    for (unsigned i = threadIdx.x; i < TABLES * PITCH; i += THREADS) {
        tables[i] = 0;
    }
    float lo, hi;
    extremes(blocks, block_count, lo, hi);
    const double width = (static_cast<double>(hi) - static_cast<double>(lo)) / BINS;
    float inverse = width > 0.0 ? static_cast<float>(1.0 / width) : 0.0f;
    inverse = fabsf(inverse) < infinity() ? inverse : 0.0f;
    unsigned* table = tables + (threadIdx.x % TABLES) * PITCH;
    while (block < counted) {
        float4 next[LOADS];
        block += place.stride * LOADS;
        fetch(next, place, block);
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            count(table, loaded[i].x, lo, inverse);
            count(table, loaded[i].y, lo, inverse);
            count(table, loaded[i].z, lo, inverse);
            count(table, loaded[i].w, lo, inverse);
            loaded[i] = next[i];
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
