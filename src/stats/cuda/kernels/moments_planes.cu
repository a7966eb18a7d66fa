// Moments in one pass over outer x channels x inner elements, where a channel's elements lie side by side.
//
// Block (c, s) takes the s-th share of channel c. A whole tensor without channels is one channel.
#include "moments.cuh"

// Vectors that a lane loads before it uses the first.
#define LOADS 4
// Elements that a warp reads at a time.
#define SEGMENT (32 * 4 * LOADS)

// One segment of a plane. Segments start at multiples of 16 bytes, so the first one may begin before the plane does.
__device__ __forceinline__ void add_segment(Moments& own, const float* plane, long long extent, long long segment) {
    const long long before = (reinterpret_cast<unsigned long long>(plane) / 4) % 4;
    const long long start = segment * SEGMENT + (threadIdx.x % 32) * 4 - before;
    float4 loaded[LOADS];
    bool whole[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        const long long first = start + i * 128;
        whole[i] = first >= 0 && first + 4 <= extent;
        loaded[i] = whole[i] ? *reinterpret_cast<const float4*>(plane + first) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    unsigned greatest = 0;
#pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        greatest = max(greatest, max(magnitude_bits(loaded[i].x), magnitude_bits(loaded[i].y)));
        greatest = max(greatest, max(magnitude_bits(loaded[i].z), magnitude_bits(loaded[i].w)));
    }
    const bool fits = fits_f32(greatest);
    Few few = {0.0f, 0.0f, 0.0f, 0.0f, 0u};
#pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        const float elements[4] = {loaded[i].x, loaded[i].y, loaded[i].z, loaded[i].w};
        if (whole[i] && fits) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                add_few(few, elements[e]);
                own.least = fminf(own.least, elements[e]);
                own.greatest = fmaxf(own.greatest, elements[e]);
            }
        } else if (whole[i]) {
            for (int e = 0; e < 4; ++e) {
                add_one(own, elements[e]);
            }
        } else {
            for (long long at = start + i * 128; at < start + i * 128 + 4; ++at) {
                if (at >= 0 && at < extent) {
                    add_one(own, plane[at]);
                }
            }
        }
    }
    join(own, few);
}

extern "C" __global__ void __launch_bounds__(THREADS)
moments_planes(const float* values, unsigned long long outer, unsigned long long channels, unsigned long long inner,
               Moments* blocks, Channel* parts) {
    const unsigned long long channel = blockIdx.x, split = blockIdx.y;
    // Segments of one plane, and the warps that share the channel's segments.
    const unsigned long long each = (inner + 3 + SEGMENT - 1) / SEGMENT;
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.y) * WARPS;
    const unsigned long long first = split * WARPS + threadIdx.x / 32;
    const unsigned long long more_planes = stride / each, more_segments = stride % each;
    unsigned long long plane = first / each, segment = first % each;
    Moments own = nothing();
    while (plane < outer) {
        add_segment(own, values + (plane * channels + channel) * inner, inner, segment);
        plane += more_planes;
        segment += more_segments;
        if (segment >= each) {
            segment -= each;
            ++plane;
        }
    }
    join_block(own);
    if (threadIdx.x == 0) {
        blocks[split * channels + channel] = own;
        if (parts != nullptr) {
            parts[split * channels + channel] = {own.sum, own.least, own.greatest};
        }
    }
}
