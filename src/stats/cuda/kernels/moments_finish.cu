// The last step of moments: joins what the blocks wrote, in the order of the blocks.
#include "moments.cuh"

// One block. Clears the bins of the histogram that follows, too: one launch less.
extern "C" __global__ void __launch_bounds__(THREADS)
moments_finish(const Moments* blocks, unsigned long long count, Moments* result, unsigned* bins, unsigned bin_count) {
    Moments own = nothing();
    for (unsigned long long i = threadIdx.x; i < count; i += THREADS) {
        join(own, blocks[i]);
    }
    join_block(own);
    if (threadIdx.x == 0) {
        *result = own;
    }
    for (unsigned i = threadIdx.x; i < bin_count; i += THREADS) {
        bins[i] = 0;
    }
}

// One thread a channel; `parts` holds `splits` rows of channels.
extern "C" __global__ void __launch_bounds__(THREADS)
channels_finish(const Channel* parts, unsigned long long channels, unsigned splits, Channel* result) {
    const unsigned long long channel = static_cast<unsigned long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (channel >= channels) {
        return;
    }
    Channel own = no_channel();
    for (unsigned split = 0; split < splits; ++split) {
        join(own, parts[split * channels + channel]);
    }
    result[channel] = own;
}
