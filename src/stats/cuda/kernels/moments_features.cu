// Moments in one pass over rows x channels elements, where the channels of a row lie side by side.
//
// Block (f, s) takes 128 channels of the s-th share of the rows, a lane four channels of a row. The first block clears
// the bins of the histogram that follows, too: one launch less.
#include "moments.cuh"

// Rows that a lane loads before it uses the first.
#define LOADS 4
#define CHANNELS 128

// What a lane has seen of its four channels.
struct Seen {
    double sum[4];
    float least[4], greatest[4];
};

// A channel of the block, by the position among the lane's four.
template <bool VECTOR> __device__ __forceinline__ unsigned slot(int e) {
    return VECTOR ? threadIdx.x % 32 * 4 + e : threadIdx.x % 32 + e * 32;
}

template <bool VECTOR>
__device__ __forceinline__ void load(const float* row, unsigned long long from, unsigned long long channels,
                                     float (&elements)[4]) {
    if (VECTOR) {
        const float4 loaded = *reinterpret_cast<const float4*>(row + from + slot<true>(0));
        elements[0] = loaded.x;
        elements[1] = loaded.y;
        elements[2] = loaded.z;
        elements[3] = loaded.w;
        return;
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        elements[e] = from + slot<false>(e) < channels ? row[from + slot<false>(e)] : 0.0f;
    }
}

__device__ __forceinline__ void add_one_of(Own& own, Seen& seen, int e, float v) {
    add_one(own, v);
    if (magnitude_bits(v) < 0x7f800000u) {
        seen.sum[e] += v;
        seen.least[e] = fminf(seen.least[e], v);
        seen.greatest[e] = fmaxf(seen.greatest[e], v);
    }
}

template <bool VECTOR>
__device__ __forceinline__ void add_rows(Own& own, Seen& seen, const float* values, unsigned long long rows,
                                         unsigned long long channels) {
    const unsigned long long from = static_cast<unsigned long long>(blockIdx.x) * CHANNELS;
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.y) * WARPS * LOADS;
    bool inside[4];
    for (int e = 0; e < 4; ++e) {
        inside[e] = from + slot<VECTOR>(e) < channels;
    }
    unsigned long long row = (static_cast<unsigned long long>(blockIdx.y) * WARPS + threadIdx.x / 32) * LOADS;
    for (; inside[0] && row < rows; row += stride) {
        float loaded[LOADS][4];
        const bool whole = row + LOADS <= rows;
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            if (row + i < rows) {
                load<VECTOR>(values + (row + i) * channels, from, channels, loaded[i]);
            }
        }
        Few few = {0.0f, 0.0f, 0.0f, 0u};
        if (whole) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
#pragma unroll
                for (int i = 0; i < LOADS; ++i) {
                    if (inside[e]) {
                        add_few(few, loaded[i][e]);
                    }
                }
            }
        }
        if (whole && held(few)) {
            join(own, few);
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                float sum = 0.0f;
#pragma unroll
                for (int i = 0; i < LOADS; ++i) {
                    sum += loaded[i][e];
                    seen.least[e] = fminf(seen.least[e], loaded[i][e]);
                    seen.greatest[e] = fmaxf(seen.greatest[e], loaded[i][e]);
                }
                seen.sum[e] += sum;
            }
            continue;
        }
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                if (row + i < rows && inside[e]) {
                    add_one_of(own, seen, e, loaded[i][e]);
                }
            }
        }
    }
    // What lies past the last channel was read as zero.
    own.sum = 0.0;
    for (int e = 0; e < 4; ++e) {
        if (inside[e]) {
            own.sum += seen.sum[e];
            own.least = fminf(own.least, seen.least[e]);
            own.greatest = fmaxf(own.greatest, seen.greatest[e]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 3)
moments_features(const float* values, unsigned long long rows, unsigned long long channels, Moments* blocks,
                 Channel* parts, unsigned* bins, unsigned bin_count) {
    __shared__ Channel warps[WARPS][CHANNELS];
    if (blockIdx.x == 0 && blockIdx.y == 0) {
        for (unsigned i = threadIdx.x; i < bin_count; i += THREADS) {
            bins[i] = 0;
        }
    }
    Own own = own_nothing();
    Seen seen;
    for (int e = 0; e < 4; ++e) {
        seen.sum[e] = 0.0;
        seen.least[e] = infinity();
        seen.greatest[e] = -infinity();
    }
    // Every row starts at a multiple of 16 bytes, or a lane takes every 32nd channel so that loads stay side by side.
    const bool vector = channels % 4 == 0 && reinterpret_cast<unsigned long long>(values) % 16 == 0;
    if (vector) {
        add_rows<true>(own, seen, values, rows, channels);
    } else {
        add_rows<false>(own, seen, values, rows, channels);
    }
    for (int e = 0; e < 4; ++e) {
        warps[threadIdx.x / 32][vector ? slot<true>(e) : slot<false>(e)] = {seen.sum[e], seen.least[e],
                                                                           seen.greatest[e]};
    }
    Moments all = widen(own);
    join_block(all);
    if (threadIdx.x == 0) {
        blocks[static_cast<unsigned long long>(blockIdx.y) * gridDim.x + blockIdx.x] = all;
    }
    const unsigned long long from = static_cast<unsigned long long>(blockIdx.x) * CHANNELS;
    if (threadIdx.x < CHANNELS && from + threadIdx.x < channels) {
        Channel sum = no_channel();
        for (int w = 0; w < WARPS; ++w) {
            join(sum, warps[w][threadIdx.x]);
        }
        parts[blockIdx.y * channels + from + threadIdx.x] = sum;
    }
}
