// Moments of a set of elements, and how two sets join. `measure.rs` reads this layout.
#pragma once

#define THREADS 256
#define WARPS (THREADS / 32)

struct Moments {
    double sum, magnitudes, squares, fourths;
    unsigned long long zeros, nans, infinities;
    float least, greatest;
};

struct Channel {
    double sum;
    float least, greatest;
};

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

__device__ __forceinline__ Moments nothing() { return {0.0, 0.0, 0.0, 0.0, 0, 0, 0, infinity(), -infinity()}; }

__device__ __forceinline__ Channel no_channel() { return {0.0, infinity(), -infinity()}; }

__device__ __forceinline__ void join(Moments& a, const Moments& b) {
    a.sum += b.sum;
    a.magnitudes += b.magnitudes;
    a.squares += b.squares;
    a.fourths += b.fourths;
    a.zeros += b.zeros;
    a.nans += b.nans;
    a.infinities += b.infinities;
    a.least = fminf(a.least, b.least);
    a.greatest = fmaxf(a.greatest, b.greatest);
}

__device__ __forceinline__ void join(Channel& a, const Channel& b) {
    a.sum += b.sum;
    a.least = fminf(a.least, b.least);
    a.greatest = fmaxf(a.greatest, b.greatest);
}

__device__ __forceinline__ Moments from_lane_above(const Moments& m, int by) {
    const unsigned all = 0xffffffffu;
    Moments other;
    other.sum = __shfl_down_sync(all, m.sum, by);
    other.magnitudes = __shfl_down_sync(all, m.magnitudes, by);
    other.squares = __shfl_down_sync(all, m.squares, by);
    other.fourths = __shfl_down_sync(all, m.fourths, by);
    other.zeros = __shfl_down_sync(all, m.zeros, by);
    other.nans = __shfl_down_sync(all, m.nans, by);
    other.infinities = __shfl_down_sync(all, m.infinities, by);
    other.least = __shfl_down_sync(all, m.least, by);
    other.greatest = __shfl_down_sync(all, m.greatest, by);
    return other;
}

// Joins what the threads of a block hold, in an order that never changes; thread 0 gets the result.
__device__ __forceinline__ void join_block(Moments& own) {
    __shared__ Moments warps[WARPS];
    for (int by = 16; by > 0; by /= 2) {
        join(own, from_lane_above(own, by));
    }
    if (threadIdx.x % 32 == 0) {
        warps[threadIdx.x / 32] = own;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < WARPS; ++warp) {
            join(own, warps[warp]);
        }
    }
}

// What one thread has seen: the same in fewer registers.
struct Own {
    double sum, magnitudes, squares, fourths;
    unsigned zeros, nans, infinities;
    float least, greatest;
};

__device__ __forceinline__ Own own_nothing() { return {0.0, 0.0, 0.0, 0.0, 0u, 0u, 0u, infinity(), -infinity()}; }

__device__ __forceinline__ Moments widen(const Own& own) {
    return {own.sum, own.magnitudes, own.squares, own.fourths, own.zeros, own.nans, own.infinities, own.least,
            own.greatest};
}

__device__ __forceinline__ unsigned magnitude_bits(float v) { return __float_as_uint(v) & 0x7fffffffu; }

// One element, of any size, in f64.
__device__ __forceinline__ void add_one(Own& own, float v) {
    const unsigned magnitude = magnitude_bits(v);
    if (magnitude >= 0x7f800000u) {
        own.nans += magnitude > 0x7f800000u;
        own.infinities += magnitude == 0x7f800000u;
        return;
    }
    const double wide = v, square = wide * wide;
    own.sum += wide;
    own.magnitudes += fabs(wide);
    own.squares += square;
    own.fourths += square * square;
    own.zeros += v == 0.0f;
    own.least = fminf(own.least, v);
    own.greatest = fmaxf(own.greatest, v);
}

// Sums of the few elements that a lane holds at a time. In f32, since f64 is 64 times slower on most devices; few
// enough that rounding stays below 1e-6.
struct Few {
    float magnitudes, squares, fourths;
    unsigned zeros;
};

__device__ __forceinline__ void add_few(Few& few, float v) {
    const float square = v * v;
    few.magnitudes += fabsf(v);
    few.squares += square;
    few.fourths = fmaf(square, square, few.fourths);
    few.zeros += v == 0.0f;
}

__device__ __forceinline__ void join(Own& own, const Few& few) {
    own.magnitudes += few.magnitudes;
    own.squares += few.squares;
    own.fourths += few.fourths;
    own.zeros += few.zeros;
}

// Whether f32 held these sums: no element is NaN or infinite, no fourth power overflowed, and that of the greatest
// element did not vanish (2^-100 is that of 2^-25). Elements that are much smaller than the greatest one may vanish.
__device__ __forceinline__ bool held(const Few& few) {
    const bool some = few.fourths >= 7.8886091e-31f && few.fourths < infinity();
    return some || few.magnitudes == 0.0f;
}
