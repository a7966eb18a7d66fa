// The last step of X'X: adds up partial tiles in f64, in the order of the shares, and writes both halves.
#define THREADS 256
#define TILE 64

// Block (16 t + e, g) finishes 256 elements of tile t of group g. `few` gets the products of every `step`-th column,
// `kept` of them; `again` says that it already holds those of earlier rows, `add` that `into` does.
extern "C" __global__ void __launch_bounds__(THREADS)
gram_finish(const float* tiles, unsigned shares, unsigned size, float* into, unsigned add, float* few, unsigned kept,
            unsigned step, unsigned again) {
    const unsigned group = blockIdx.y, groups = gridDim.y, tile = blockIdx.x / 16, count = gridDim.x / 16;
    const unsigned element = blockIdx.x % 16 * THREADS + threadIdx.x;
    unsigned line = 0;
    while ((line + 1) * (line + 2) / 2 <= tile) {
        ++line;
    }
    const unsigned i = line * TILE + element / TILE, j = (tile - line * (line + 1) / 2) * TILE + element % TILE;
    if (i >= size || j > i) {
        return;
    }
    double sum = 0.0;
    for (unsigned s = 0; s < shares; ++s) {
        const unsigned long long of = static_cast<unsigned long long>(s) * groups + group;
        sum += tiles[(of * count + tile) * TILE * TILE + element];
    }
    const float found = static_cast<float>(sum);
    float* matrix = into + static_cast<unsigned long long>(group) * size * size;
    const unsigned long long below = static_cast<unsigned long long>(i) * size + j;
    const float value = add ? matrix[below] + found : found;
    matrix[below] = value;
    matrix[static_cast<unsigned long long>(j) * size + i] = value;
    if (i % step == 0 && j % step == 0 && i / step < kept) {
        float* part = few + static_cast<unsigned long long>(group) * kept * kept;
        const unsigned a = i / step, b = j / step;
        const float moment = again ? part[a * kept + b] + found : found;
        part[a * kept + b] = moment;
        part[b * kept + a] = moment;
    }
}

// One thread a column of a group. `own` gets the sums of this sample.
extern "C" __global__ void __launch_bounds__(THREADS)
gram_sums_finish(const double* columns, unsigned shares, unsigned long long count, double* into, unsigned add,
                 double* own, unsigned again) {
    const unsigned long long at = static_cast<unsigned long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (at >= count) {
        return;
    }
    double sum = 0.0;
    for (unsigned s = 0; s < shares; ++s) {
        sum += columns[s * count + at];
    }
    into[at] = add ? into[at] + sum : sum;
    own[at] = again ? own[at] + sum : sum;
}
