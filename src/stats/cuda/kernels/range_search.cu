// Squared error of candidate ranges over weighted points. One thread a candidate, which sums in the order of the
// points with the roundings of the CPU: equal bits, so that the choice among candidates cannot differ.

#define THREADS 64
// 1.5 x 2^52: adding and subtracting it rounds half to even, as `round_half_even_f64` does.
#define MAGIC 6755399441055744.0

struct Candidate {
    double scale, lo, hi;
};

struct Errors {
    // Of rounding all points to multiples of the scale, of clipping those above `hi`, and of clipping those below `lo`.
    double rounding, above, below;
};

__device__ __forceinline__ double plus_square(double sum, double weight, double error) {
    return __dadd_rn(sum, __dmul_rn(weight, __dmul_rn(error, error)));
}

extern "C" __global__ void __launch_bounds__(THREADS)
range_search(const double* at, const double* weight, unsigned points, const Candidate* candidates, unsigned count,
             Errors* errors) {
    __shared__ double near[THREADS], mass[THREADS];
    const unsigned index = blockIdx.x * THREADS + threadIdx.x;
    const Candidate own = index < count ? candidates[index] : Candidate{1.0, 0.0, 0.0};
    const double inverse = __ddiv_rn(1.0, own.scale);
    Errors sum = {0.0, 0.0, 0.0};
    for (unsigned from = 0; from < points; from += THREADS) {
        const unsigned held = min(points - from, static_cast<unsigned>(THREADS));
        __syncthreads();
        if (threadIdx.x < held) {
            near[threadIdx.x] = at[from + threadIdx.x];
            mass[threadIdx.x] = weight[from + threadIdx.x];
        }
        __syncthreads();
        for (unsigned i = 0; i < held; ++i) {
            const double x = near[i], w = mass[i];
            const double steps = __dsub_rn(__dadd_rn(__dmul_rn(x, inverse), MAGIC), MAGIC);
            const double rounded = __dmul_rn(steps, own.scale);
            sum.rounding = plus_square(sum.rounding, w, __dsub_rn(rounded, x));
            if (x > own.hi) {
                sum.above = plus_square(sum.above, w, __dsub_rn(x, own.hi));
            }
            if (x < own.lo) {
                sum.below = plus_square(sum.below, w, __dsub_rn(own.lo, x));
            }
        }
    }
    if (index < count) {
        errors[index] = sum;
    }
}
