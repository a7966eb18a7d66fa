// Moments in one pass over rows x channels elements, where the channels of a row lie side by side.
//
// Block (f, s) takes 128 channels of the s-th share of the rows, a lane four channels of a row.
#include "moments.cuh"

// Rows that a lane loads before it uses the first.
#define LOADS 4
#define CHANNELS 128

struct Lane {
    unsigned long long channels;
    // Channel of each of the four elements.
    unsigned long long at[4];
    bool vector;
};

__device__ __forceinline__ void load(const Lane& lane, const float* row, float (&elements)[4], bool (&inside)[4]) {
    for (int e = 0; e < 4; ++e) {
        inside[e] = lane.at[e] < lane.channels;
        elements[e] = 0.0f;
    }
    if (lane.vector && inside[3]) {
        const float4 loaded = *reinterpret_cast<const float4*>(row + lane.at[0]);
        elements[0] = loaded.x;
        elements[1] = loaded.y;
        elements[2] = loaded.z;
        elements[3] = loaded.w;
    } else {
        for (int e = 0; e < 4; ++e) {
            if (inside[e]) {
                elements[e] = row[lane.at[e]];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
moments_features(const float* values, unsigned long long rows, unsigned long long channels, Moments* blocks,
                 Channel* parts) {
    __shared__ Channel warps[WARPS][CHANNELS];
    const int in_warp = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.y) * WARPS;
    const unsigned long long from = static_cast<unsigned long long>(blockIdx.x) * CHANNELS;
    // Every row starts at a multiple of 16 bytes, or a lane takes every 32nd channel so that loads stay side by side.
    Lane lane;
    lane.channels = channels;
    lane.vector = channels % 4 == 0 && reinterpret_cast<unsigned long long>(values) % 16 == 0;
    int slot[4];
    for (int e = 0; e < 4; ++e) {
        slot[e] = lane.vector ? in_warp * 4 + e : in_warp + e * 32;
        lane.at[e] = from + slot[e];
    }
    Moments own = nothing();
    Channel seen[4] = {no_channel(), no_channel(), no_channel(), no_channel()};
    for (unsigned long long row = blockIdx.y * WARPS + warp; row < rows; row += stride * LOADS) {
        float loaded[LOADS][4];
        bool inside[LOADS][4];
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            if (row + i * stride < rows) {
                load(lane, values + (row + i * stride) * channels, loaded[i], inside[i]);
            } else {
                for (int e = 0; e < 4; ++e) {
                    loaded[i][e] = 0.0f;
                    inside[i][e] = false;
                }
            }
        }
        unsigned greatest = 0;
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            for (int e = 0; e < 4; ++e) {
                greatest = max(greatest, magnitude_bits(loaded[i][e]));
            }
        }
        const bool fits = fits_f32(greatest);
        Few few = {0.0f, 0.0f, 0.0f, 0.0f, 0u};
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            float sum = 0.0f;
#pragma unroll
            for (int i = 0; i < LOADS; ++i) {
                const float v = loaded[i][e];
                if (!inside[i][e]) {
                    continue;
                }
                if (fits) {
                    add_few(few, v);
                    sum += v;
                    seen[e].least = fminf(seen[e].least, v);
                    seen[e].greatest = fmaxf(seen[e].greatest, v);
                } else if (magnitude_bits(v) < 0x7f800000u) {
                    add_one(own, v);
                    join(seen[e], {static_cast<double>(v), v, v});
                } else {
                    add_one(own, v);
                }
            }
            seen[e].sum += sum;
        }
        join(own, few);
    }
    for (int e = 0; e < 4; ++e) {
        own.least = fminf(own.least, seen[e].least);
        own.greatest = fmaxf(own.greatest, seen[e].greatest);
        warps[warp][slot[e]] = seen[e];
    }
    join_block(own);
    if (threadIdx.x == 0) {
        blocks[static_cast<unsigned long long>(blockIdx.y) * gridDim.x + blockIdx.x] = own;
    }
    if (threadIdx.x < CHANNELS && from + threadIdx.x < channels) {
        Channel all = no_channel();
        for (int w = 0; w < WARPS; ++w) {
            join(all, warps[w][threadIdx.x]);
        }
        parts[blockIdx.y * channels + from + threadIdx.x] = all;
    }
}
