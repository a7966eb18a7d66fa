// How a convolution reads its input: what the kernels that cut rows of X from images share.
#pragma once
#include "gram.cuh"

// What one column of X reads: the distance from a position's first element, and the kernel's offsets.
struct Column {
    // Negative for columns past the last.
    int distance;
    short down, across;
};

__device__ __forceinline__ Column column(const Reading& reading, unsigned index, unsigned size) {
    if (index >= size) {
        return {-1, 0, 0};
    }
    const int kernel = reading.kernel_y * reading.kernel_x, i = index;
    const int down = i % kernel / reading.kernel_x * reading.dilation_y;
    const int across = i % reading.kernel_x * reading.dilation_x;
    const int distance = (i / kernel * reading.height + down) * reading.width + across;
    return {distance, static_cast<short>(down), static_cast<short>(across)};
}
