// Moments in one pass over outer x channels x inner elements, where a channel's elements lie side by side.
//
// Block (c, s) takes the s-th share of channel c. A whole tensor without channels is one channel. The first block clears
// the bins of the histogram that follows, too: one launch less.
#include "moments.cuh"

// Chunks of a plane that a lane loads before it uses the first.
#define LOADS 4
// Elements that a warp reads at once, four a lane.
#define CHUNK 128

// Elements between the plane's start and the multiple of 16 bytes before it, where its first chunk begins.
__device__ __forceinline__ long long elements_before(const float* plane) {
    return (reinterpret_cast<unsigned long long>(plane) / 4) % 4;
}

// A division of 64 bits takes longer than a load, and few tensors need it.
__device__ __forceinline__ void cut(long long chunks, long long each, long long& planes, long long& rest) {
    if (chunks < each) {
        planes = 0;
        rest = chunks;
    } else if (chunks >> 32 == 0) {
        planes = static_cast<unsigned>(chunks) / static_cast<unsigned>(each);
        rest = static_cast<unsigned>(chunks) % static_cast<unsigned>(each);
    } else {
        planes = chunks / each;
        rest = chunks % each;
    }
}

__device__ __forceinline__ void add_few(Few& few, float v, float& sum, float& least, float& greatest) {
    add_few(few, v);
    sum += v;
    least = fminf(least, v);
    greatest = fmaxf(greatest, v);
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
moments_planes(const float* values, unsigned long long outer, unsigned long long channels, unsigned long long inner,
               Moments* blocks, Channel* parts, unsigned* bins, unsigned bin_count) {
    const unsigned long long channel = blockIdx.x, split = blockIdx.y;
    if (channel == 0 && split == 0) {
        for (unsigned i = threadIdx.x; i < bin_count; i += THREADS) {
            bins[i] = 0;
        }
    }
    const bool aligned = inner % 4 == 0 && elements_before(values) == 0;
    const long long extent = inner, each = (extent + (aligned ? 0 : 3) + CHUNK - 1) / CHUNK;
    // The warps that share the channel's chunks take LOADS at a time.
    const long long stride = static_cast<long long>(gridDim.y) * WARPS * LOADS;
    const long long first_chunk = (static_cast<long long>(split) * WARPS + threadIdx.x / 32) * LOADS;
    const long long step = channels * inner, lane = threadIdx.x % 32 * 4;
    long long more_planes, more_chunks, plane, chunk;
    cut(stride, each, more_planes, more_chunks);
    cut(first_chunk, each, plane, chunk);
    const float* base = values + plane * step + static_cast<long long>(channel) * extent;
    Own own = own_nothing();
    while (plane < static_cast<long long>(outer)) {
        float loaded[LOADS][4];
        // Four bits a chunk: which of the lane's elements are there.
        unsigned there = 0;
        long long p = plane, c = chunk;
        const float* b = base;
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const long long at = c * CHUNK + lane - (aligned ? 0 : elements_before(b));
            const bool in_plane = p < static_cast<long long>(outer) && at + 4 > 0 && at < extent;
            if (in_plane && at >= 0 && at + 4 <= extent) {
                const float4 v = *reinterpret_cast<const float4*>(b + at);
                loaded[i][0] = v.x;
                loaded[i][1] = v.y;
                loaded[i][2] = v.z;
                loaded[i][3] = v.w;
                there |= 15u << 4 * i;
            } else if (in_plane) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const bool inside = at + e >= 0 && at + e < extent;
                    loaded[i][e] = inside ? b[at + e] : 0.0f;
                    there |= static_cast<unsigned>(inside) << (4 * i + e);
                }
            }
            if (++c == each) {
                c = 0;
                ++p;
                b += step;
            }
        }
        Few few = {0.0f, 0.0f, 0.0f, 0u};
        float sum = 0.0f, least = infinity(), greatest = -infinity();
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const unsigned mine = there >> 4 * i & 15u;
            if (mine == 15u) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    add_few(few, loaded[i][e], sum, least, greatest);
                }
            } else if (mine != 0u) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    if (mine >> e & 1u) {
                        add_few(few, loaded[i][e], sum, least, greatest);
                    }
                }
            }
        }
        if (held(few)) {
            join(own, few);
            own.sum += sum;
            own.least = fminf(own.least, least);
            own.greatest = fmaxf(own.greatest, greatest);
        } else {
#pragma unroll
            for (int i = 0; i < LOADS; ++i) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    if (there >> (4 * i + e) & 1u) {
                        add_one(own, loaded[i][e]);
                    }
                }
            }
        }
        plane += more_planes;
        chunk += more_chunks;
        base += more_planes * step;
        if (chunk >= each) {
            chunk -= each;
            ++plane;
            base += step;
        }
    }
    Moments all = widen(own);
    join_block(all);
    if (threadIdx.x == 0) {
        blocks[split * channels + channel] = all;
        if (parts != nullptr) {
            parts[split * channels + channel] = {all.sum, all.least, all.greatest};
        }
    }
}
