// Quantizes and dequantizes: y = (clamp(round_half_even(x / scale), low, high) + offset) * out_scale, all in f32 with
// the roundings of the CPU; NaN stays NaN. `y` may be `x`.

#define THREADS 256
#define WARPS (THREADS / 32)
// Vectors that a lane loads before it uses the first.
#define LOADS 4
#define SEGMENT (32 * 4 * LOADS)

struct Step {
    float scale, low, high, offset, out_scale;
};

__device__ __forceinline__ float through(float v, const Step& step) {
    // Adding and subtracting 1.5 * 2^23 rounds half to even below 2^22, beyond which no grid reaches.
    const float magic = 12582912.0f;
    float x = __fdiv_rn(v, step.scale);
    x = x < step.low ? step.low : x;
    x = x > step.high ? step.high : x;
    const float rounded = __fsub_rn(__fadd_rn(x, magic), magic);
    return __fmul_rn(__fadd_rn(rounded, step.offset), step.out_scale);
}

__device__ __forceinline__ long long elements_before(const float* x) {
    return (reinterpret_cast<unsigned long long>(x) / 4) % 4;
}

__device__ __forceinline__ void store(float* y, float4 v, bool aligned) {
    if (aligned) {
        *reinterpret_cast<float4*>(y) = v;
        return;
    }
    y[0] = v.x;
    y[1] = v.y;
    y[2] = v.z;
    y[3] = v.w;
}

// Planes of `inner` elements with one step each; plane p has step p % channels. A whole tensor is one plane.
extern "C" __global__ void __launch_bounds__(THREADS)
fake_quantize_planes(const float* x, float* y, const Step* steps, unsigned long long planes,
                     unsigned long long channels, unsigned long long inner) {
    const unsigned long long each = (inner + 3 + SEGMENT - 1) / SEGMENT;
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.x) * WARPS;
    const long long extent = inner;
    unsigned long long unit = static_cast<unsigned long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
    for (; unit < planes * each; unit += stride) {
        const unsigned long long plane = unit / each;
        const Step step = steps[plane % channels];
        const float* from = x + plane * inner;
        float* to = y + plane * inner;
        const bool aligned = elements_before(from) == elements_before(to);
        const long long start = (unit % each) * SEGMENT + (threadIdx.x % 32) * 4 - elements_before(from);
        float4 loaded[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const long long first = start + i * 128;
            if (first >= 0 && first + 4 <= extent) {
                loaded[i] = *reinterpret_cast<const float4*>(from + first);
            }
        }
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const long long first = start + i * 128;
            if (first >= 0 && first + 4 <= extent) {
                const float4 v = loaded[i];
                const float4 made =
                    make_float4(through(v.x, step), through(v.y, step), through(v.z, step), through(v.w, step));
                store(to + first, made, aligned);
                continue;
            }
            for (long long at = first; at < first + 4; ++at) {
                if (at >= 0 && at < extent) {
                    to[at] = through(from[at], step);
                }
            }
        }
    }
}

// Channels of one block, four a lane.
#define CHANNELS 128

// A channel of the block, by its position among the lane's four.
template <bool VECTOR> __device__ __forceinline__ unsigned slot(int e) {
    return VECTOR ? threadIdx.x % 32 * 4 + e : threadIdx.x % 32 + e * 32;
}

template <bool VECTOR>
__device__ __forceinline__ void quantize_rows(const float* x, float* y, const Step* steps, unsigned long long rows,
                                              unsigned long long channels) {
    const unsigned long long from = static_cast<unsigned long long>(blockIdx.x) * CHANNELS;
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.y) * WARPS * LOADS;
    Step own[4];
    bool inside[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        inside[e] = from + slot<VECTOR>(e) < channels;
        own[e] = steps[inside[e] ? from + slot<VECTOR>(e) : 0];
    }
    unsigned long long row = (static_cast<unsigned long long>(blockIdx.y) * WARPS + threadIdx.x / 32) * LOADS;
    for (; inside[0] && row < rows; row += stride) {
        float loaded[LOADS][4];
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const float* line = x + (row + i) * channels + from;
            if (VECTOR && row + i < rows) {
                const float4 v = *reinterpret_cast<const float4*>(line + slot<true>(0));
                loaded[i][0] = v.x;
                loaded[i][1] = v.y;
                loaded[i][2] = v.z;
                loaded[i][3] = v.w;
            }
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                if (!VECTOR && row + i < rows && inside[e]) {
                    loaded[i][e] = line[slot<false>(e)];
                }
            }
        }
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            float* line = y + (row + i) * channels + from;
            if (VECTOR && row + i < rows) {
                store(line + slot<true>(0),
                      make_float4(through(loaded[i][0], own[0]), through(loaded[i][1], own[1]),
                                  through(loaded[i][2], own[2]), through(loaded[i][3], own[3])),
                      true);
            }
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                if (!VECTOR && row + i < rows && inside[e]) {
                    line[slot<false>(e)] = through(loaded[i][e], own[e]);
                }
            }
        }
    }
}

// Rows of `channels` elements with one step a channel. Block (f, s) takes 128 channels of the s-th share of the rows.
extern "C" __global__ void __launch_bounds__(THREADS)
fake_quantize_features(const float* x, float* y, const Step* steps, unsigned long long rows,
                       unsigned long long channels) {
    if (channels % 4 == 0 && reinterpret_cast<unsigned long long>(x) % 16 == 0
        && reinterpret_cast<unsigned long long>(y) % 16 == 0) {
        quantize_rows<true>(x, y, steps, rows, channels);
    } else {
        quantize_rows<false>(x, y, steps, rows, channels);
    }
}
