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
    const long long more_planes = stride / each, more_chunks = stride % each;
    const long long first_chunk = (static_cast<long long>(split) * WARPS + threadIdx.x / 32) * LOADS;
    const long long step = channels * inner, lane = threadIdx.x % 32 * 4;
    long long plane = first_chunk / each, chunk = first_chunk % each;
    const float* base = values + plane * step + static_cast<long long>(channel) * extent;
    Own own = own_nothing();
    while (plane < static_cast<long long>(outer)) {
        float4 loaded[LOADS];
        bool whole[LOADS], part = false;
        long long p = plane, c = chunk;
        const float* b = base;
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const long long at = c * CHUNK + lane - (aligned ? 0 : elements_before(b));
            const bool there = p < static_cast<long long>(outer) && at + 4 > 0 && at < extent;
            whole[i] = there && at >= 0 && at + 4 <= extent;
            part |= there && !whole[i];
            loaded[i] = whole[i] ? *reinterpret_cast<const float4*>(b + at) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
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
            const float elements[4] = {loaded[i].x, loaded[i].y, loaded[i].z, loaded[i].w};
            if (whole[i]) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    add_few(few, elements[e]);
                    sum += elements[e];
                    least = fminf(least, elements[e]);
                    greatest = fmaxf(greatest, elements[e]);
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
                const float elements[4] = {loaded[i].x, loaded[i].y, loaded[i].z, loaded[i].w};
                for (int e = 0; whole[i] && e < 4; ++e) {
                    add_one(own, elements[e]);
                }
            }
        }
        if (part) {
            // The ends of planes, element by element.
            p = plane;
            c = chunk;
            b = base;
            for (int i = 0; i < LOADS && p < static_cast<long long>(outer); ++i) {
                const long long at = c * CHUNK + lane - (aligned ? 0 : elements_before(b));
                const bool inside = at >= 0 && at + 4 <= extent;
                for (long long e = at; !inside && e < at + 4; ++e) {
                    if (e >= 0 && e < extent) {
                        add_one(own, b[e]);
                    }
                }
                if (++c == each) {
                    c = 0;
                    ++p;
                    b += step;
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
