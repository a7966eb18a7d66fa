// The last step of X'X: adds up partial tiles, image by image, and writes both halves.
#define THREADS 256
#define TILE 64

// Block (16 t + e, g) finishes 256 elements of tile t of group g. `few` gets the products of every `step`-th column,
// `kept` of them; `again` says that it already holds those of earlier images, `add` that `into` does.
extern "C" __global__ void __launch_bounds__(THREADS)
gram_finish(const float* tiles, unsigned images, unsigned parts, unsigned size, float* into, unsigned add, float* few,
            unsigned kept, unsigned step, unsigned again) {
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
    float* matrix = into + static_cast<unsigned long long>(group) * size * size;
    float* part = few + static_cast<unsigned long long>(group) * kept * kept;
    const unsigned long long below = static_cast<unsigned long long>(i) * size + j;
    const unsigned a = i / step, b = j / step;
    const bool is_kept = i % step == 0 && j % step == 0 && a < kept;
    float value = add ? matrix[below] : 0.0f, moment = is_kept && again ? part[a * kept + b] : 0.0f;
    unsigned long long of = group;
    for (unsigned image = 0; image < images; ++image) {
        float sum = 0.0f;
        for (unsigned p = 0; p < parts; ++p, of += groups) {
            sum += tiles[(of * count + tile) * TILE * TILE + element];
        }
        value += sum;
        moment += sum;
    }
    matrix[below] = value;
    matrix[static_cast<unsigned long long>(j) * size + i] = value;
    if (is_kept) {
        part[a * kept + b] = moment;
        part[b * kept + a] = moment;
    }
}

// One thread a column of a group. `own` gets the sums of this sample.
extern "C" __global__ void __launch_bounds__(THREADS)
gram_sums_finish(const double* columns, unsigned images, unsigned parts, unsigned long long count, double* into,
                 unsigned add, double* own, unsigned again) {
    const unsigned long long at = static_cast<unsigned long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (at >= count) {
        return;
    }
    double value = add ? into[at] : 0.0, mine = again ? own[at] : 0.0;
    for (unsigned image = 0; image < images; ++image) {
        double sum = 0.0;
        for (unsigned p = 0; p < parts; ++p) {
            sum += columns[(static_cast<unsigned long long>(image) * parts + p) * count + at];
        }
        value += sum;
        mine += sum;
    }
    into[at] = value;
    own[at] = mine;
}
