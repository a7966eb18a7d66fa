// Squared error of candidate ranges over weighted points. A block takes a candidate: its threads compute the terms of
// many points side by side, then three of them add up one kind of error each, in the order of the points with the
// roundings of the CPU: equal bits, so that the choice among candidates cannot differ.

#define THREADS 256
// Points whose terms are held at a time.
#define CHUNK 1024
// 1.5 x 2^52: adding and subtracting it rounds half to even, as `round_half_even_f64` does.
#define MAGIC 6755399441055744.0

struct Candidate {
    double scale, lo, hi;
};

__device__ __forceinline__ double weighted_square(double weight, double error) {
    return __dmul_rn(weight, __dmul_rn(error, error));
}

// `errors` gets three sums a candidate: of rounding all points to multiples of the scale, of clipping those above `hi`,
// and of clipping those below `lo`.
extern "C" __global__ void __launch_bounds__(THREADS)
range_search(const double* at, const double* weight, unsigned points, const Candidate* candidates, double* errors) {
    __shared__ __align__(16) double terms[3][CHUNK];
    const Candidate own = candidates[blockIdx.x];
    const double inverse = __ddiv_rn(1.0, own.scale);
    const unsigned kind = threadIdx.x / 32;
    const bool adds = threadIdx.x % 32 == 0 && kind < 3;
    double sum = 0.0;
    for (unsigned from = 0; from < points; from += CHUNK) {
        __syncthreads();
        for (unsigned i = threadIdx.x; i < CHUNK; i += THREADS) {
            // A point that is not there, or not clipped, adds zero, which leaves a sum as it is.
            const bool there = from + i < points;
            const double x = there ? at[from + i] : 0.0, w = there ? weight[from + i] : 0.0;
            const double steps = __dsub_rn(__dadd_rn(__dmul_rn(x, inverse), MAGIC), MAGIC);
            terms[0][i] = weighted_square(w, __dsub_rn(__dmul_rn(steps, own.scale), x));
            terms[1][i] = there && x > own.hi ? weighted_square(w, __dsub_rn(x, own.hi)) : 0.0;
            terms[2][i] = there && x < own.lo ? weighted_square(w, __dsub_rn(own.lo, x)) : 0.0;
        }
        __syncthreads();
        if (adds) {
            const double* mine = terms[kind];
#pragma unroll 32
            for (unsigned i = 0; i < CHUNK; ++i) {
                sum = __dadd_rn(sum, mine[i]);
            }
        }
    }
    if (adds) {
        errors[blockIdx.x * 3 + kind] = sum;
    }
}
